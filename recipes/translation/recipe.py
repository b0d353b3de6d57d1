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

from common.config import reject_settings, resolve_epochs
from common.data.check_pairs import check_translation_pairs
from common.data.example_filters import filter_examples
from common.data.splitting import load_splits
from common.modeling.layers.dropout import scale_dropout
from common.modeling.losses import sequence_cross_entropy
from common.recipe import Recipe
from common.text.cooccurrence import init_embeddings_from_cooccurrence
from common.text.pair_filter import PairFilter
from common.text.placeholders import AS_PIECES
from common.text.subwords import known_word_fraction, train_vocabulary
from common.text.vocabulary import extend_vocabulary
from common.types import (
    Assets,
    Batch,
    Endpoint,
    Example,
    ExampleSource,
    JsonObject,
    NamedAxis,
    OutputFormat,
    OutputRow,
    Splits,
)

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
    input_fields = data.FIELDS[:1]
    length_features = ("source", "target")
    layer_groups = networks.LAYER_GROUPS
    head: TranslationHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.head = TranslationHead(assets)
        self.tokenizer = PairTokenizer(config, assets)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        reject_settings(config, ("class_weights",), "translations have no labels")
        fields = data.make_fields(config.source_language, config.target_language)
        splits = load_splits(
            config, fields, lambda: data.load_message_catalogs(config.target_language or "de", config.offline)
        )
        pair_filter = PairFilter(languages=(config.source_language, config.target_language))
        train = filter_examples(splits.train, lambda pair: pair_filter.rejection_reason(pair["text"], pair["target"]))
        return dataclasses.replace(splits, train=train)

    @classmethod
    def build_assets(cls, config: Config, train: ExampleSource) -> Assets:
        texts, source_pieces, num_target_pieces = TrainingTexts(config, train), None, None
        if config.shared_vocabulary == "joint":
            pieces = train_vocabulary(texts.read("text", "target"), config.vocabulary_size or JOINT)
            pieces, num_target_pieces = order_pieces(pieces, texts, AS_PIECES)
        else:
            source_pieces, pieces = (
                train_vocabulary(texts.read(name), config.vocabulary_size or SEPARATE) for name in ("text", "target")
            )
        assets = {"pieces": pieces, "source_pieces": source_pieces, "num_target_pieces": num_target_pieces}
        return assets | {"pairs": texts.pairs, "placeholders": texts.placeholders}

    @classmethod
    def extend_assets(cls, config: Config, train: ExampleSource, known: Assets) -> Assets:
        texts, words = TrainingTexts(config, train), {"text": Counter[str](), "target": Counter[str]()}
        own = texts if train.without_replay is None else TrainingTexts(config, train.without_replay)
        for counts, text in zip(itertools.cycle(words.values()), own.read(*words), strict=False):
            counts.update(WORD.findall(text))
        for _ in () if own is texts else texts.read(*words):
            pass
        # Marks that were never seen would be three bytes each, of which none alone is a mark.
        marks = AS_PIECES if texts.placeholders else []
        pieces = {name: known[name] and extend_vocabulary(known[name], marks) for name in ("pieces", "source_pieces")}
        num_target_pieces = known["num_target_pieces"]
        if num_target_pieces is not None:
            always = [*known["pieces"][:num_target_pieces], *AS_PIECES]
            pieces["pieces"], num_target_pieces = order_pieces(pieces["pieces"], texts, always)
        vocabularies = {"text": known["source_pieces"] or known["pieces"], "target": known["pieces"]}
        frequent = {name: [word for word, _ in counts.most_common(COMMON)] for name, counts in words.items()}
        return {
            **pieces,
            "num_target_pieces": num_target_pieces,
            "pairs": texts.pairs,
            "placeholders": texts.placeholders or known["placeholders"],
            "known_word_fraction": {
                name: known_word_fraction(frequent[name], vocabulary)
                for name, vocabulary in vocabularies.items()
                if len(vocabulary) >= ENOUGH
            },
        }

    @classmethod
    def resolve_defaults(cls, config: Config, assets: Assets) -> Config:
        units, layers = SIZES[config.model]
        epochs = resolve_epochs(config, assets, assets["pairs"], SEEN, 5, 20 if config.init_from else 40)
        rise = round(assets["pairs"] / RISE) if config.dropout_warmup_epochs is None else config.dropout_warmup_epochs
        units, layers = config.hidden_dim or units, config.num_layers or layers
        return dataclasses.replace(
            config, epochs=epochs, dropout_warmup_epochs=rise, hidden_dim=units, num_layers=layers
        )

    @classmethod
    def check_data(cls, config: Config, splits: Splits) -> JsonObject:
        return check_translation_pairs(splits, "text", "target")

    def encode(self, features: Batch) -> Batch:
        return self.tokenizer.encode(features)

    def encode_targets(self, examples: Batch) -> Batch:
        return self.tokenizer.encode_targets(examples)

    def build_model(self) -> keras.Model:
        pieces, source_pieces = len(self.tokenizer.pieces), len(self.tokenizer.source_pieces)
        return networks.build_model(self.config, pieces, source_pieces, self.tokenizer.is_joint)

    def initialize_weights(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], inherited: Collection[str] = ()
    ) -> None:
        """Set vectors of pieces so that pieces that translate each other have similar ones."""
        if "pieces/table" in inherited:
            return
        ids = ((features["source"], target["target"]) for features, target in batches)
        count = (len(self.tokenizer.source_pieces), len(self.tokenizer.pieces))
        source, target = init_embeddings_from_cooccurrence(ids, *count, self.config.hidden_dim or 0, self.config.seed)
        if self.tokenizer.is_joint:
            both = source + np.pad(target, [(0, len(source) - len(target)), (0, 0)])
            model.get_layer("pieces").table.assign(both / np.linalg.norm(both, axis=1, keepdims=True))
        else:
            model.get_layer("source_pieces").table.assign(source)
            model.get_layer("pieces").table.assign(target)

    def get_weight_axes(self) -> Mapping[str, Mapping[int, NamedAxis]]:
        pieces, source = self.tokenizer.pieces.named_axis(), self.tokenizer.source_pieces.named_axis()
        table = source if self.tokenizer.is_joint else pieces
        return {"pieces/table": {0: table}, "pieces/bias": {0: pieces}, "source_pieces/table": {0: source}}

    def get_muon_variables(self, model: keras.Model) -> Sequence[tf.Variable]:
        if self.config.optimizer == "adamw":
            return []
        # Not the tables of pieces, whose rows have lives of their own.
        matrices = [variable for variable in model.trainable_variables if len(variable.shape) == 2]
        return [variable for variable in matrices if not variable.path.endswith("/table")]

    def on_epoch_begin(self, model: keras.Model, epoch: int) -> None:
        rise = self.config.dropout_warmup_epochs or 0
        scale_dropout(model, min(epoch / rise, 1.0) if rise else 1.0)

    def compute_loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        pieces, drawn = model.get_layer("pieces"), outputs.get("drawn")
        if drawn is not None and drawn.shape[0] == 0:  # none are drawn in validation, which is exact
            drawn = None
        table, bias = pieces.output_weights()
        smoothing = self.config.label_smoothing
        return sequence_cross_entropy(target["target"], outputs["states"], table, bias, smoothing, drawn)

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return translations of encoded sources, in which marks stand for placeholders, and their scores, [batch]."""
        return serving.Translator(self.config, self.tokenizer, model).predict(features)

    def make_endpoints(self, model: keras.Model) -> dict[str, Endpoint]:
        return serving.Translator(self.config, self.tokenizer, model).endpoints()

    def edge_case_inputs(self) -> list[Example]:
        texts = [example["text"] for example in super().edge_case_inputs()]
        return [{"text": text, "target": target} for text, target in zip(texts, reversed(texts), strict=True)]

    def data_warnings(self) -> list[str]:
        return self.head.data_warnings()  # the known fraction of words is told of each field

    @property
    def output_formats(self) -> Mapping[str, OutputFormat]:
        return {"po": OutputFormat(lambda _, outputs: text_of(outputs), fills_catalogue=True)}

    def format_alignment(self, example: Example, outputs: OutputRow) -> JsonObject:
        source = outputs["source_pieces"][: outputs["source_lengths"]].tolist()
        target = outputs["target_pieces"][: outputs["target_lengths"]].tolist()
        return alignment.align_words(source, target, outputs["attention"][: len(target), : len(source)])
