"""The recipe of music: what is learned from pieces, how they become frames, and what is served."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from common.config import passes, refuse
from common.data import check_music
from common.data.splitting import load_splits
from common.music.frame_tokens import HELD, STRUCK, TOKENS, from_events, pitches
from common.recipe import Recipe
from common.types import Answer, Assets, Axis, Batch, Endpoint, Example, JsonObject, Made, Source, Splits

from . import asking, copies, data, layers, likelihood, model, scoring, serving
from .config import Config, Wishes

OCTAVE = 12  # semitones
SEEN = 1_500_000  # frames that a training sees without --epochs, over 10 to 150 epochs


def octaves_above(source: tuple[int, int], new: tuple[int, int]) -> int:
    """By how many octaves to lower new pieces so that they stand where a source's pieces do; by none if they nearly do.

    >>> octaves_above(source=(36, 81), new=(48, 93)), octaves_above((36, 81), (60, 84))
    (1, 0)

    Args:
      source, new: the lowest and the highest pitch.
    """

    def beyond(octaves: int) -> int:
        low, high = (pitch - OCTAVE * octaves for pitch in new)
        # A source has heard its pieces moved by some semitones.
        return max(max(0, source[0] - low) + max(0, high - source[1]) - OCTAVE // 2, 0)

    return min(range(-10, 11), key=lambda octaves: (beyond(octaves), abs(octaves)))


class MusicRecipe(Recipe[Config]):
    """A few notes to a piece."""

    fields = data.FIELDS
    inputs = data.FIELDS[:1]
    length_keys = ("frames",)
    parts = model.PARTS
    head: scoring.MusicHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = scoring.MusicHead(config, assets)
        self.tokens = TOKENS if assets["held"] else HELD

    open_source = staticmethod(data.open_source)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        refuse(config, ("label_smoothing", "class_weights"), "pieces have no labels")
        return load_splits(
            config, data.FIELDS, lambda: data.chorales(config.steps_per_beat, config.offline), cls.open_source
        )

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        low, high, voices, held, keys, steps, pieces = 127, 0, 1, False, False, 0, 0
        bars: Counter[int] = Counter()
        kept = copies.Passages()
        for example in train:
            events = np.asarray(example["events"])
            pieces, steps = pieces + 1, steps + example["steps"]
            bars[example["bar"]] += 1
            keys = keys or example["key"] > 0
            kept.add(events)
            if len(events):
                low, high = min(low, int(events[:, 2].min())), max(high, int(events[:, 2].max()))
                held = held or bool((events[:, 1] > 1).any())
                voices = max(voices, int(check_music.voices(events, example["steps"]).max(initial=1)))
        low, high = min(low, high), max(low, high)
        bar = max(bars, key=lambda one: bars[one], default=0)
        notes = {"low": low, "high": high, "voices": voices, "held": held, "keys": keys, "bar": bar}
        return notes | {"pieces": pieces, "frames": steps, "passages": kept.packed()}

    @classmethod
    def relearn(cls, config: Config, train: Source, known: Assets) -> Assets:
        found = cls.learn(config, train)
        octaves = known.get("octaves", 0) + octaves_above((known["low"], known["high"]), (found["low"], found["high"]))
        return found | {"held": found["held"] or known["held"], "octaves": octaves}  # what it can sustain, it still can

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        most = 60 if config.init_from else 150
        return dataclasses.replace(config, epochs=passes(config, assets, assets["frames"], SEEN, 10, most))

    @classmethod
    def check(cls, config: Config, splits: Splits) -> JsonObject:
        return check_music.music(splits)

    def encode(self, features: Batch) -> Batch:
        events, steps = features["events"], features["steps"]
        if isinstance(events, tf.Tensor):
            events = tf.RaggedTensor.from_tensor(events, ragged_rank=1)
        tokens = from_events(events, steps, self.assets["held"])
        return {"frames": tokens, "bar": features["bar"], "key": features["key"]}

    def encode_target(self, examples: Batch) -> Batch:
        return {"steps": examples["steps"]}

    def build_model(self) -> keras.Model:
        return model.build(self.config, self.tokens, self.assets["low"], self.assets["high"])

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        notes = pitches(tf.range(self.tokens)).numpy()
        kinds = ["held" if one >= HELD else "note" for one in range(self.tokens)]
        moved = OCTAVE * self.assets.get("octaves", 0)
        each = [f"{kind} {note - moved}" for kind, note in zip(kinds, notes, strict=True)]
        each[:STRUCK] = ["padding", "end of a frame"]
        tokens = Axis(each)
        ranked = Axis([f"{one} at rank {rank}" for rank in range(layers.SLOTS) for one in each])
        names = ("frames_before/all", "slots/table", "slots/bias", "slots/beside", "slots/below")
        return {"frames_before/ranked": {0: ranked}, **{name: {0: tokens} for name in names}}

    def loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Nats of all frames of each piece, and how many frames it has."""
        places, log_probs = likelihood.log_probabilities(model, outputs)
        count = tf.shape(outputs["grid"], tf.int64)[0]
        return -tf.math.unsorted_segment_sum(log_probs, places[:, 0], count), tf.cast(target["steps"], tf.float32)

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return how likely pieces are, see `likelihood.score_frames`."""
        return likelihood.score_frames(model, features)

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        return serving.Player(self.config, self.assets, model).endpoints()

    def odd_inputs(self) -> list[Example]:
        chord = [[0, 4, 72], [0, 4, 60], [0, 4, 60], [2, 1, 72]]  # a note twice, and one struck while it sounds
        prompts = [[], chord, [[3, 2, 0], [3, 1, 127]], [[0, 9, 60]], [[0, 0, 0], [1, 1, 64]]]
        prompts.append([[step, 1, 40 + step] for step in range(12)] + [[0, 12, 90 - one] for one in range(20)])
        return [
            {
                "events": np.array(events, np.int32).reshape(-1, 3),
                "steps": 3 * number,
                "bar": (0, 16, 7)[number % 3],
                "key": (number * 11) % 25,
                "length": (0, 6, 1, 9, 8, 16)[number],
                "temperature": (1.0, 0.8, 0.0)[number % 3],
                "top_k": (0, 5)[number % 2],
                "top_p": (1.0, 0.9, 0.5)[number % 3],
                "seed": 7 * number,
                "voices": (1, 4, 0)[number % 3],
                "low": 40,
                "high": 90,
                "tempo": 60.0 + number,
            }
            for number, events in enumerate(prompts)
        ]

    def made(self, wishes: Wishes, texts: Sequence[str], answer: Answer) -> Iterator[Made]:
        return asking.made(self.config, self.assets, wishes, texts, answer)
