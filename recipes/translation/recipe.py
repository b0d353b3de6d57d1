"""The recipe of translation: what is learned from pairs, how texts become pieces, and what is served."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import sacrebleu
import tensorflow as tf

from common import check_pairs, decode, losses, pairs, sources, subwords
from common.recipe import Ask, Assets, Batch, Endpoint, Example, Format, Source, Splits

from . import data, lstm, transformer
from .config import Config

SEEN = 600_000  # pairs that a training sees without --epochs, over 5 to 60 epochs
SIZES = {"transformer": (128, 4), "lstm": (256, 2)}  # units and layers
GROWTH, SPARE = 2, 10  # a translation has at most so many times the pieces of its source, and so many more


class Recipe:
    """Text to text."""

    fields = data.FIELDS
    inputs = data.FIELDS[:1]
    formats: ClassVar[Mapping[str, Format]] = {}
    length_key = "source"
    monitor, monitor_mode = "loss", "min"

    def __init__(self, config: Config, assets: Assets):
        self.config, self.assets = config, assets
        self.pieces = subwords.Subwords(assets["pieces"])
        self.network = lstm if config.model == "lstm" else transformer

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        fields = data.fields(config.source_language, config.target_language)
        found = sources.splits(
            config, fields, lambda: data.catalogues(config.target_language or "de", config.offline)
        )  # fmt: skip
        which = pairs.Filter(languages=(config.source_language, config.target_language))
        return dataclasses.replace(found, train=pairs.filtered(found.train, which, "text", "target"))

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        count = 0

        def texts() -> Iterator[str]:
            nonlocal count
            for example in train:
                count += 1
                yield example["text"]
                yield example["target"]

        return {"pieces": subwords.train(texts(), config.pieces), "pairs": count}

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        if config.epochs is None and config.max_minutes is None:
            config = dataclasses.replace(config, epochs=min(max(round(SEEN / max(assets["pairs"], 1)), 5), 60))
        units, layers = SIZES[config.model]
        return dataclasses.replace(config, units=config.units or units, layers=config.layers or layers)

    @classmethod
    def check(cls, config: Config, splits: Splits) -> dict[str, Any]:
        return check_pairs.pairs(splits, "text", "target")

    def encode(self, features: Batch) -> Batch:
        return {"source": self._ids(features["text"])}

    def encode_target(self, examples: Batch) -> Batch:
        return {"target": self._ids(examples["target"])}

    def _ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Pieces and the end, [batch, (pieces)]; the end keeps an empty text from being an empty row."""
        ids = self.pieces.encode(texts)[:, : self.config.longest - 1]
        end = tf.fill([ids.nrows(), 1], subwords.END)
        return tf.concat([ids, tf.RaggedTensor.from_tensor(end)], axis=1)

    def build_model(self) -> keras.Model:
        return self.network.build(self.config, len(self.pieces))

    def begin(self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]]) -> None:
        pass

    def warm_up(self, model: keras.Model) -> None:
        return None

    def loss(self, model: keras.Model, target: Batch, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        pieces = model.get_layer("pieces")
        return losses.sequence_cross_entropy(
            target["target"], outputs["states"], pieces.logits, self.config.label_smoothing
        )  # fmt: skip

    def measures(self, model: keras.Model) -> _Nothing:
        return _Nothing()

    def conclude(self, model: keras.Model, measures: _Nothing) -> None:
        pass

    def score(self, batches: Iterable[list[Example]], ask: Ask) -> dict[str, Any]:
        found, wanted = [], []
        for batch in batches:
            for positions, outputs in ask("serving_default", batch):
                found += [one.decode("utf-8", "replace") for one in outputs["translation"]]
                wanted += [batch[at]["target"] for at in positions]
        if not wanted:
            return {"examples": 0}
        bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
        same = [one == other for one, other in zip(found, wanted, strict=True)]
        return {
            "bleu": bleu.corpus_score(found, [wanted]).score,
            "chrf": chrf.corpus_score(found, [wanted]).score,
            "exact_match": float(np.mean(same)),
            "bleu_signature": str(bleu.get_signature()),
            "examples": len(wanted),
        }

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        def translated(text: tf.Tensor, best: int) -> tuple[tf.Tensor, tf.Tensor]:
            ids = self._ids(text)
            lengths = tf.cast(ids.row_lengths(), tf.int32)
            source = ids.to_tensor(subwords.PADDING)
            longest = tf.minimum(GROWTH * lengths + SPARE, transformer.PLACES - 1)
            most = tf.reduce_max(tf.concat([longest, [1]], axis=0))
            step = self.network.Stepper(self.config, model, source, self.config.beam, most)
            found = decode.beam_search(
                step, step.state, tf.shape(source)[0], start=subwords.START, end=subwords.END, longest=longest,
                beam=self.config.beam, n_best=best, length_penalty=self.config.length_penalty,
            )  # fmt: skip
            flat = tf.reshape(found.tokens, [-1, tf.shape(found.tokens)[2]])
            return tf.reshape(self.pieces.decode(flat), [-1, best]), found.scores

        def one(text: tf.Tensor) -> Mapping[str, tf.Tensor]:
            texts, scores = translated(text, 1)
            return {"translation": texts[:, 0], "score": scores[:, 0]}

        def several(text: tf.Tensor) -> Mapping[str, tf.Tensor]:
            texts, scores = translated(text, self.config.beam)
            return {"translations": texts, "scores": scores}

        inputs = {"text": tf.TensorSpec([None], tf.string, "text")}
        return {"serving_default": Endpoint(one, inputs), "n_best": Endpoint(several, inputs)}

    def doubts(self) -> list[str]:
        return []

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
        return [{"text": text} for text in texts]

    def present(self, example: Example, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"translation": outputs["translation"].decode("utf-8", "replace"), "score": float(outputs["score"])}


class _Nothing:
    """No measures besides the loss: a translation is scored at the end."""

    def update(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        pass

    def result(self) -> dict[str, Any]:
        return {}
