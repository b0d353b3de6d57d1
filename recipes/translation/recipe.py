"""The recipe of translation: what is learned from pairs, how texts become pieces, and what is served."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from common.config import passes, refuse
from common.data import check_pairs
from common.data.splitting import filter_examples, load_splits
from common.modeling.layers.dropout import set_dropout
from common.modeling.losses import sequence_cross_entropy
from common.recipe import Recipe
from common.text import subwords
from common.text.cooccurrence import vectors
from common.text.pair_filter import Filter
from common.text.placeholders import AS_PIECES
from common.text.vocabulary import extended
from common.types import Assets, Axis, Batch, Endpoint, Example, Format, JsonObject, OutputRow, Source, Splits

from . import alignment, data, networks, serving
from .config import Config
from .learning import TrainingTexts, order_pieces
from .scoring import TranslationHead, text_of
from .tokenizer import PairTokenizer

SEEN = 600_000  # pairs that a training sees without --epochs, over 5 to 40 epochs
JOINT, SEPARATE = 8000, 4000  # pieces of a vocabulary
RISE = 1000  # pairs for each epoch over which dropout rises, for fewer are sooner learned by heart
SIZES = {"transformer": (128, 4), "lstm": (256, 2)}  # units and layers
COMMON = 50  # most frequent words, of which is told how many are pieces of a base run
ENOUGH = 1000  # pieces; in fewer there may be too little room for frequent words
WORD = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u052f\u0531-\u0587\u10a0-\u10ff]{2,}")  # of scripts with blanks


class TranslationRecipe(Recipe[Config]):
    """Text to text."""

    fields = data.FIELDS
    inputs = data.FIELDS[:1]
    length_keys = ("source", "target")
    parts = networks.PARTS
    head: TranslationHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = TranslationHead(assets)
        self.tokenizer = PairTokenizer(config, assets)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        refuse(config, ("class_weights",), "translations have no labels")
        fields = data.fields(config.source_language, config.target_language)
        found = load_splits(config, fields, lambda: data.catalogues(config.target_language or "de", config.offline))
        which = Filter(languages=(config.source_language, config.target_language))
        train = filter_examples(found.train, lambda pair: which.fault(pair["text"], pair["target"]))
        return dataclasses.replace(found, train=train)

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        seen, written = TrainingTexts(config, train), None
        if config.vocabulary == "joint":
            pieces, apart = subwords.train(seen.read("text", "target"), config.pieces or JOINT), None
            pieces, written = order_pieces(pieces, seen, AS_PIECES)
        else:
            apart, pieces = (subwords.train(seen.read(name), config.pieces or SEPARATE) for name in ("text", "target"))
        learned = {"pieces": pieces, "source_pieces": apart, "written": written}
        return learned | {"pairs": seen.pairs, "placeholders": seen.placeholders}

    @classmethod
    def relearn(cls, config: Config, train: Source, known: Assets) -> Assets:
        seen, words = TrainingTexts(config, train), {"text": Counter[str](), "target": Counter[str]()}
        own = seen if train.own is None else TrainingTexts(config, train.own)
        for counts, one in zip(itertools.cycle(words.values()), own.read(*words), strict=False):
            counts.update(WORD.findall(one))
        for _ in () if own is seen else seen.read(*words):
            pass
        # Marks that were never seen would be three bytes each, of which none alone is a mark.
        some = seen.placeholders or known["placeholders"]
        marks = AS_PIECES if seen.placeholders else []
        pieces = {name: known[name] and extended(known[name], marks) for name in ("pieces", "source_pieces")}
        written = known.get("written")
        if written is not None:
            always = [*known["pieces"][:written], *AS_PIECES]
            pieces["pieces"], written = order_pieces(pieces["pieces"], seen, always)
        of = {"text": known["source_pieces"] or known["pieces"], "target": known["pieces"]}
        most = {name: [word for word, _ in counts.most_common(COMMON)] for name, counts in words.items()}
        alike = {name: subwords.familiar(most[name], of[name]) for name in of if len(of[name]) >= ENOUGH}
        return {**pieces, "written": written, "pairs": seen.pairs, "placeholders": some, "familiar": alike}

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        units, layers = SIZES[config.model]
        epochs = passes(config, assets, assets["pairs"], SEEN, 5, 20 if config.init_from else 40)
        rise = round(assets["pairs"] / RISE) if config.dropout_rise is None else config.dropout_rise
        units, layers = config.units or units, config.layers or layers
        return dataclasses.replace(config, epochs=epochs, dropout_rise=rise, units=units, layers=layers)

    @classmethod
    def check(cls, config: Config, splits: Splits) -> JsonObject:
        return check_pairs.pairs(splits, "text", "target")

    def encode(self, features: Batch) -> Batch:
        return self.tokenizer.encode(features)

    def encode_target(self, examples: Batch) -> Batch:
        return self.tokenizer.encode_targets(examples)

    def build_model(self) -> keras.Model:
        pieces, source_pieces = len(self.tokenizer.pieces), len(self.tokenizer.source_pieces)
        return networks.get_network(self.config).build(self.config, pieces, source_pieces, self.tokenizer.is_joint)

    def begin(self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()) -> None:
        """Vectors of pieces begin where pieces that translate each other are alike."""
        if "pieces/table" in kept:
            return
        ids = ((features["source"], target["target"]) for features, target in batches)
        count = (len(self.tokenizer.source_pieces), len(self.tokenizer.pieces))
        source, target = vectors(ids, *count, self.config.units or 0, self.config.seed)
        if self.tokenizer.is_joint:
            both = source + np.pad(target, [(0, len(source) - len(target)), (0, 0)])
            model.get_layer("pieces").table.assign(both / np.linalg.norm(both, axis=1, keepdims=True))
        else:
            model.get_layer("source_pieces").table.assign(source)
            model.get_layer("pieces").table.assign(target)

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        pieces, source = self.tokenizer.pieces.axis(), self.tokenizer.source_pieces.axis()
        table = source if self.tokenizer.is_joint else pieces
        return {"pieces/table": {0: table}, "pieces/bias": {0: pieces}, "source_pieces/table": {0: source}}

    def orthogonal(self, model: keras.Model) -> Sequence[tf.Variable]:
        if self.config.optimizer == "adamw":
            return []
        # Not the tables of pieces, whose rows have lives of their own.
        matrices = [variable for variable in model.trainable_variables if len(variable.shape) == 2]
        return [variable for variable in matrices if not variable.path.endswith("/table")]

    def begin_epoch(self, model: keras.Model, epoch: int) -> None:
        rise = self.config.dropout_rise or 0
        set_dropout(model, min(epoch / rise, 1.0) if rise else 1.0)

    def loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        pieces, drawn = model.get_layer("pieces"), outputs.get("drawn")
        if drawn is not None and drawn.shape[0] == 0:  # none are drawn in validation, which is exact
            drawn = None
        table, bias = pieces.scoring()
        smoothing = self.config.label_smoothing
        return sequence_cross_entropy(target["target"], outputs["states"], table, bias, smoothing, drawn)

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return translations of encoded sources, in which marks stand for placeholders, and their scores, [batch]."""
        return serving.Translator(self.config, self.tokenizer, model).predict(features)

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        return serving.Translator(self.config, self.tokenizer, model).endpoints()

    def odd_inputs(self) -> list[Example]:
        texts = [example["text"] for example in super().odd_inputs()]
        return [{"text": text, "target": target} for text, target in zip(texts, reversed(texts), strict=True)]

    def doubts(self) -> list[str]:
        return self.head.data_warnings()  # "familiar" is told of each field here

    @property
    def formats(self) -> Mapping[str, Format]:
        return {"po": Format(lambda _, outputs: text_of(outputs), catalogue=True)}

    def alignment(self, example: Example, outputs: OutputRow) -> JsonObject:
        source = outputs["source_pieces"][: outputs["source_lengths"]].tolist()
        target = outputs["target_pieces"][: outputs["target_lengths"]].tolist()
        return alignment.aligned(source, target, outputs["attention"][: len(target), : len(source)])
