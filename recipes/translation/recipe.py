"""The recipe of translation: what is learned from pairs, how texts become pieces, and what is served."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from common import check_pairs, cooccurrence, encoding, losses, metrics, pairs, placeholders, sources, subwords, text
from common.config import passes, refuse
from common.layers.dropout import set_dropout
from common.recipe import Ask, Assets, Axis, Batch, Endpoint, Example, Format, Source, Splits, Tally
from common.uncertain import of_confidence

from . import alignment, data, lstm, scoring, serving, transformer
from .config import Config

SEEN = 600_000  # pairs that a training sees without --epochs, over 5 to 40 epochs
JOINT, SEPARATE = 8000, 4000  # pieces of a vocabulary
ALIGNED = 64  # ids
RISE = 1000  # pairs for each epoch over which dropout rises, for fewer are sooner learned by heart
SIZES = {"transformer": (128, 4), "lstm": (256, 2)}  # units and layers
# Of so many of the most frequent words 0.6 to 1 were pieces of a vocabulary of their own language (Multi30k's, of 4,000
# pieces), of other texts, too, and 0.1 to 0.35 of one of another language in the same script.
COMMON, FAMILIAR = 50, 0.45
ENOUGH = 1000  # pieces; in fewer there may be too little room for frequent words
WORD = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u052f\u0531-\u0587\u10a0-\u10ff]{2,}")  # of scripts with blanks


class Recipe:
    """Text to text."""

    fields = data.FIELDS
    inputs = data.FIELDS[:1]
    formats: ClassVar[Mapping[str, Format]] = {"po": Format(lambda _, outputs: _text(outputs), catalogue=True)}
    length_keys = ("source", "target")
    parts: ClassVar[Mapping[str, Sequence[str]]] = {
        "embedding": ("source_pieces",),
        "encoder": ("encoder_*", "memory"),
        "decoder": ("pieces", "bridge_*", "across", "joined_*", "decoder_*", "states"),
    }
    monitor, monitor_mode = "loss", "min"

    def __init__(self, config: Config, assets: Assets):
        self.config, self.assets = config, assets
        # Of a joint vocabulary the first pieces are those that targets were seen to have; only these are written.
        self.pieces = subwords.Subwords(assets["pieces"][: assets.get("written")])
        self.joint = assets["source_pieces"] is None
        self.source_pieces = subwords.Subwords(assets["pieces"] if self.joint else assets["source_pieces"])
        self.marks = config.placeholders and assets["placeholders"]
        self.network = lstm if config.model == "lstm" else transformer

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        refuse(config, ("class_weights",), "translations have no labels")
        fields = data.fields(config.source_language, config.target_language)
        found = sources.load_splits(
            config, fields, lambda: data.catalogues(config.target_language or "de", config.offline)
        )
        which = pairs.Filter(languages=(config.source_language, config.target_language))
        train = sources.filter_examples(found.train, lambda pair: which.fault(pair["text"], pair["target"]))
        return dataclasses.replace(found, train=train)

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        seen, written = _Seen(config, train), None
        if config.vocabulary == "joint":
            pieces, apart = subwords.train(seen.texts("text", "target"), config.pieces or JOINT), None
            pieces, written = _parted(pieces, seen, placeholders.AS_PIECES)
        else:
            apart, pieces = (subwords.train(seen.texts(name), config.pieces or SEPARATE) for name in ("text", "target"))
        return {
            "pieces": pieces, "source_pieces": apart, "written": written, "pairs": seen.pairs,
            "placeholders": seen.placeholders,
        }  # fmt: skip

    @classmethod
    def relearn(cls, config: Config, train: Source, known: Assets) -> Assets:
        seen, words = _Seen(config, train), {"text": Counter[str](), "target": Counter[str]()}
        own = seen if train.own is None else _Seen(config, train.own)
        for counts, one in zip(itertools.cycle(words.values()), own.texts(*words), strict=False):
            counts.update(WORD.findall(one))
        for _ in () if own is seen else seen.texts(*words):
            pass
        # Marks that were never seen would be three bytes each, of which none alone is a mark.
        some = seen.placeholders or known["placeholders"]
        marks = placeholders.AS_PIECES if seen.placeholders else []
        pieces = {name: known[name] and text.extended(known[name], marks) for name in ("pieces", "source_pieces")}
        written = known.get("written")
        if written is not None:
            always = [*known["pieces"][:written], *placeholders.AS_PIECES]
            pieces["pieces"], written = _parted(pieces["pieces"], seen, always)
        of = {"text": known["source_pieces"] or known["pieces"], "target": known["pieces"]}
        most = {name: [word for word, _ in counts.most_common(COMMON)] for name, counts in words.items()}
        alike = {name: subwords.familiar(most[name], of[name]) for name in of if len(of[name]) >= ENOUGH}
        return {**pieces, "written": written, "pairs": seen.pairs, "placeholders": some, "familiar": alike}

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        units, layers = SIZES[config.model]
        epochs = passes(config, assets, assets["pairs"], SEEN, 5, 20 if config.init_from else 40)
        rise = round(assets["pairs"] / RISE) if config.dropout_rise is None else config.dropout_rise
        sizes = {"units": config.units or units, "layers": config.layers or layers}
        return dataclasses.replace(config, epochs=epochs, dropout_rise=rise, **sizes)

    @classmethod
    def check(cls, config: Config, splits: Splits) -> dict[str, Any]:
        return check_pairs.pairs(splits, "text", "target")

    def encode(self, features: Batch) -> Batch:
        return {"source": self.source_ids(self.marked(features["text"])[0])}

    def encode_target(self, examples: Batch) -> Batch:
        target = examples["target"]
        if self.marks:
            target = placeholders.masked_as(target, self.marked(examples["text"])[1])
        return {"target": self._ids(target, self.pieces)}

    def marked(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Sources with marks for their placeholders, and what these stand for; as they are where there are none."""
        if self.marks:
            return placeholders.masked(texts)
        return texts, tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.string), tf.zeros_like(texts, tf.int64))

    def source_ids(self, marked: tf.Tensor) -> tf.RaggedTensor:
        """Pieces of sources as `marked` gives them, and the end, [batch, (pieces)]."""
        return self._ids(marked, self.source_pieces)

    def _ids(self, texts: tf.Tensor, pieces: subwords.Subwords) -> tf.RaggedTensor:
        """Pieces and the end, [batch, (pieces)]; the end keeps an empty text from being an empty row."""
        ids = pieces.encode(texts)[:, : self.config.longest - 1]
        end = tf.fill([ids.nrows(), 1], subwords.END)
        return tf.concat([ids, tf.RaggedTensor.from_tensor(end)], axis=1)

    def build_model(self) -> keras.Model:
        return self.network.build(self.config, len(self.pieces), len(self.source_pieces), self.joint)

    def begin(self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()) -> None:
        """Vectors of pieces begin where pieces that translate each other are alike."""
        if "pieces/table" in kept:
            return
        ids = ((features["source"], target["target"]) for features, target in batches)
        count = (len(self.source_pieces), len(self.pieces))
        source, target = cooccurrence.vectors(ids, *count, self.config.units or 0, self.config.seed)
        if self.joint:
            both = source + np.pad(target, [(0, len(source) - len(target)), (0, 0)])
            model.get_layer("pieces").table.assign(both / np.linalg.norm(both, axis=1, keepdims=True))
        else:
            model.get_layer("source_pieces").table.assign(source)
            model.get_layer("pieces").table.assign(target)

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        pieces, source = self.pieces.axis(), self.source_pieces.axis()
        axes = {"pieces/table": {0: source if self.joint else pieces}, "pieces/bias": {0: pieces}}
        return axes | {"source_pieces/table": {0: source}}

    def warm_up(self, model: keras.Model) -> None:
        return None

    def orthogonal(self, model: keras.Model) -> Sequence[Any]:
        if self.config.optimizer == "adamw":
            return []
        # Not the tables of pieces, whose rows have lives of their own.
        return [one for one in model.trainable_variables if len(one.shape) == 2 and not one.path.endswith("/table")]

    def begin_epoch(self, model: keras.Model, epoch: int) -> None:
        rise = self.config.dropout_rise or 0
        set_dropout(model, min(epoch / rise, 1.0) if rise else 1.0)

    def loss(self, model: keras.Model, target: Batch, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        pieces, drawn = model.get_layer("pieces"), outputs.get("drawn")
        if drawn is not None and drawn.shape[0] == 0:  # none are drawn in validation, which is exact
            drawn = None
        smoothing = self.config.label_smoothing
        return losses.sequence_cross_entropy(
            target["target"], outputs["states"], *pieces.scoring(), smoothing, drawn
        )  # fmt: skip

    def measures(self, model: keras.Model) -> metrics.Nothing:
        return metrics.Nothing()

    def conclude(self, model: keras.Model, measures: metrics.Nothing) -> None:
        pass

    def score(self, batches: Iterable[list[Example]], ask: Ask) -> dict[str, Any]:
        """The measures; seconds are those of serving_default, tracing left out, for it is asked once before."""
        texts, found, wanted = [], [], []
        seconds, log_prob, pieces = 0.0, 0.0, 0
        for batch in batches:
            if not wanted:
                list(ask("serving_default", batch[:1]))
            began = time.perf_counter()
            answers = list(ask("serving_default", batch))
            seconds += time.perf_counter() - began
            for positions, outputs in answers:
                found += [one.decode("utf-8", "replace") for one in outputs["translation"]]
                wanted += [batch[at]["target"] for at in positions]
                texts += [batch[at]["text"] for at in positions]
            for _, outputs in ask("likelihood", batch):
                log_prob += float(outputs["log_prob"].sum(dtype=float))
                pieces += int(outputs["pieces"].sum())
        if not wanted:
            return {"examples": 0}
        return {
            **scoring.measured(texts, found, wanted),
            "perplexity": math.exp(-log_prob / pieces),
            "seconds": seconds,
            "sentences_per_second": len(wanted) / seconds,
            "examples": len(wanted),
        }

    def tally(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        found, wanted = [], []
        for batch in batches:
            found += [_text(outputs) for outputs in metrics.in_order(ask, "serving_default", batch)]
            wanted += [example["target"] for example in batch]
        return scoring.tally(found, wanted)

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        return serving.Translator(self, model).endpoints()

    def doubts(self) -> list[str]:
        alike = self.assets.get("familiar", {})
        return [doubt for name, share in alike.items() for doubt in text.strange(share, FAMILIAR, name)]

    def odd_inputs(self) -> list[Example]:
        texts = [
            "",
            " ",
            "\n",
            "unheard-of words",
            "ümläut ß",
            "日本語の文章。",
            "🙂🙂",
            "a" * 2000,
            "word " * 400,
            "\x00\t",
        ]
        return [{"text": text, "target": target} for text, target in zip(texts, reversed(texts), strict=True)]

    def present(self, example: Example, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"text": example["text"], "translation": _text(outputs), "score": float(outputs["score"])}

    def uncertainty(self, outputs: Mapping[str, Any], by: str | None) -> float:
        """By the score, a log probability that --length-penalty brings nearer to that of a piece."""
        return of_confidence(math.exp(min(float(outputs["score"]), 0.0)), by)

    def alignment(self, example: Example, outputs: Mapping[str, Any]) -> dict[str, Any]:
        source = outputs["source_pieces"][: outputs["source_lengths"]].tolist()
        target = outputs["target_pieces"][: outputs["target_lengths"]].tolist()
        return alignment.aligned(source, target, outputs["attention"][: len(target), : len(source)])


class _Seen:
    """The texts of the training part, and what was seen in the last pass over them."""

    def __init__(self, config: Config, train: Source):
        self.config, self.train = config, train
        self.pairs, self.placeholders = 0, False

    def texts(self, *names: str) -> Iterator[str]:
        """Texts of such fields, their placeholders marked."""
        self.pairs = 0
        for batch in encoding.in_batches(self.train, encoding.ENCODE_BATCH):
            self.pairs += len(batch)
            sides = {name: tf.constant([text.utf8(one[name]) for one in batch]) for name in ("text", "target")}
            if self.config.placeholders:
                sides["text"], kept = placeholders.masked(sides["text"])
                sides["target"] = placeholders.masked_as(sides["target"], kept)
                self.placeholders = self.placeholders or bool(tf.size(kept))
            for row in zip(*(sides[name].numpy() for name in names), strict=True):
                yield from (one.decode("utf-8", "replace") for one in row)


def _parted(pieces: Sequence[str], seen: _Seen, always: Iterable[str]) -> tuple[list[str], int]:
    """Pieces of a joint vocabulary, and how many of the first ones are to be written: see `subwords.parted`.

    Some more are, so that the ids are a multiple of `ALIGNED`: of such rows the best are found without padding them.
    """
    ordered, count = subwords.parted(pieces, seen.texts("target"), always)
    ids = subwords.FIRST + count
    return ordered, min(ids + -ids % ALIGNED - subwords.FIRST, len(ordered))


def _text(outputs: Mapping[str, Any]) -> str:
    return outputs["translation"].decode("utf-8", "replace")
