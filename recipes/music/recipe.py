"""The recipe of music: what is learned from pieces, how they become frames, and what is served."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from common.config import reject_settings, resolve_epochs
from common.data import check_music
from common.data.splitting import load_splits
from common.music.frame_tokens import HELD, STRUCK, TOKENS, events_to_tokens, token_pitches
from common.recipe import Recipe
from common.types import (
    Answer,
    Assets,
    Batch,
    Endpoint,
    Example,
    ExampleSource,
    Generated,
    JsonObject,
    NamedAxis,
    Splits,
)

from . import asking, copies, data, layers, likelihood, model, scoring, serving
from .config import Config, GenerationConfig

OCTAVE = 12  # semitones
SEEN = 1_500_000  # frames that a training sees without --epochs, over 10 to 150 epochs


def octave_offset(base: tuple[int, int], new: tuple[int, int]) -> int:
    """Return by how many octaves to lower new pieces so that they stand where a base run's do; 0 if they nearly do.

    >>> octave_offset(base=(36, 81), new=(48, 93)), octave_offset((36, 81), (60, 84))
    (1, 0)

    Args:
      base, new: the lowest and the highest pitch.
    """

    def beyond(octaves: int) -> int:
        low, high = (pitch - OCTAVE * octaves for pitch in new)
        # A base run has heard its pieces moved by some semitones.
        return max(max(0, base[0] - low) + max(0, high - base[1]) - OCTAVE // 2, 0)

    return min(range(-10, 11), key=lambda octaves: (beyond(octaves), abs(octaves)))


class MusicRecipe(Recipe[Config]):
    """A few notes to a piece."""

    fields = data.FIELDS
    input_fields = data.FIELDS[:1]
    length_features = ("frames",)
    layer_groups = model.LAYER_GROUPS
    head: scoring.MusicHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = scoring.MusicHead(config, assets)
        self.tokens = TOKENS if assets["has_held_notes"] else HELD

    open_source = staticmethod(data.open_source)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        reject_settings(config, ("label_smoothing", "class_weights"), "pieces have no labels")
        return load_splits(
            config, data.FIELDS, lambda: data.load_bach_chorales(config.steps_per_beat, config.offline), cls.open_source
        )

    @classmethod
    def build_assets(cls, config: Config, train: ExampleSource) -> Assets:
        low, high, voices, held, keys, steps, pieces = 127, 0, 1, False, False, 0, 0
        bars: Counter[int] = Counter()
        passages = copies.PassageIndex()
        for example in train:
            events = np.asarray(example["events"])
            pieces, steps = pieces + 1, steps + example["steps"]
            bars[example["bar"]] += 1
            keys = keys or example["key"] > 0
            passages.add(events)
            if len(events):
                low, high = min(low, int(events[:, 2].min())), max(high, int(events[:, 2].max()))
                held = held or bool((events[:, 1] > 1).any())
                voices = max(voices, int(check_music.count_voices(events, example["steps"]).max(initial=1)))
        low, high = min(low, high), max(low, high)
        bar = max(bars, key=lambda steps: bars[steps], default=0)
        notes = {"low": low, "high": high, "octaves": 0, "voices": voices, "has_held_notes": held}
        counts = {"keys": keys, "bar": bar, "pieces": pieces, "frames": steps}
        return notes | counts | {"training_passages": passages.serialize()}

    @classmethod
    def extend_assets(cls, config: Config, train: ExampleSource, known: Assets) -> Assets:
        assets = cls.build_assets(config, train)
        octaves = known["octaves"] + octave_offset((known["low"], known["high"]), (assets["low"], assets["high"]))
        has_held_notes = assets["has_held_notes"] or known["has_held_notes"]  # what it can sustain, it still can
        return assets | {"has_held_notes": has_held_notes, "octaves": octaves}

    @classmethod
    def resolve_defaults(cls, config: Config, assets: Assets) -> Config:
        max_epochs = 60 if config.init_from else 150
        epochs = resolve_epochs(config, assets, assets["frames"], SEEN, 10, max_epochs)
        return dataclasses.replace(config, epochs=epochs)

    @classmethod
    def check_data(cls, config: Config, splits: Splits) -> JsonObject:
        return check_music.check_music(splits)

    def encode(self, features: Batch) -> Batch:
        events, steps = features["events"], features["steps"]
        if isinstance(events, tf.Tensor):
            events = tf.RaggedTensor.from_tensor(events, ragged_rank=1)
        tokens = events_to_tokens(events, steps, self.assets["has_held_notes"])
        return {"frames": tokens, "bar": features["bar"], "key": features["key"]}

    def encode_targets(self, examples: Batch) -> Batch:
        return {"steps": examples["steps"]}

    def build_model(self) -> keras.Model:
        return model.build_model(self.config, self.tokens, self.assets["low"], self.assets["high"])

    def get_weight_axes(self) -> Mapping[str, Mapping[int, NamedAxis]]:
        notes = token_pitches(tf.range(self.tokens)).numpy()
        kinds = ["held" if token >= HELD else "note" for token in range(self.tokens)]
        shift = OCTAVE * self.assets["octaves"]
        token_names = [f"{kind} {note - shift}" for kind, note in zip(kinds, notes, strict=True)]
        token_names[:STRUCK] = ["padding", "end of a frame"]
        tokens = NamedAxis(token_names)
        ranked = NamedAxis([f"{token} at rank {rank}" for rank in range(layers.SLOTS) for token in token_names])
        names = ("frames_before/all", "slots/table", "slots/bias", "slots/beside", "slots/below")
        return {"frames_before/ranked": {0: ranked}, **{name: {0: tokens} for name in names}}

    def compute_loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the nats of all frames of each piece, and how many frames it has."""
        places, log_probs = likelihood.token_log_probs(model, outputs)
        count = tf.shape(outputs["grid"], tf.int64)[0]
        return -tf.math.unsorted_segment_sum(log_probs, places[:, 0], count), tf.cast(target["steps"], tf.float32)

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return how likely pieces are, see `likelihood.score_frames`."""
        return likelihood.score_frames(model, features)

    def make_endpoints(self, model: keras.Model) -> dict[str, Endpoint]:
        return serving.MusicEndpoints(self.config, self.assets, model).endpoints()

    def edge_case_inputs(self) -> list[Example]:
        chord = [[0, 4, 72], [0, 4, 60], [0, 4, 60], [2, 1, 72]]  # a note twice, and one struck while it sounds
        prompts = [[], chord, [[3, 2, 0], [3, 1, 127]], [[0, 9, 60]], [[0, 0, 0], [1, 1, 64]]]
        prompts.append([[step, 1, 40 + step] for step in range(12)] + [[0, 12, 90 - number] for number in range(20)])
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

    def generate(self, request: GenerationConfig, texts: Sequence[str], answer: Answer) -> Iterator[Generated]:
        return asking.generate_pieces(self.config, self.assets, request, texts, answer)
