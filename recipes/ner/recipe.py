"""The recipe of named entity recognition: what is learned from the data, how tokens become inputs, what is served."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras
import tensorflow as tf

from common.config import reject_settings, resolve_epochs
from common.data.check_tags import check_tagged_sentences
from common.data.loading import combine_fingerprints, file_digest, open_tagged_source
from common.data.splitting import load_splits
from common.errors import ConfigError
from common.modeling.layers.crf_recursions import Transitions
from common.recipe import Recipe
from common.runtime.open_file import expand_path
from common.text.tokenizer import tokenize_with_offsets
from common.text.vocabulary import AffixHasher, Vocabulary, count_words, known_word_fraction, most_frequent
from common.types import (
    Assets,
    Batch,
    Endpoint,
    Example,
    ExampleSource,
    Field,
    JsonObject,
    NamedAxis,
    OutputFormat,
    Splits,
)

from . import data, features, model, pretrained, serving, tagging, writing
from .config import PREFIXES, SUFFIXES, Config
from .scoring import TaggingHead


class NerRecipe(Recipe[Config]):
    """Text or tokens to entities."""

    fields = data.FIELDS
    input_fields = (Field("text", "text", ("sentence", "content", "body", "document")),)
    length_features = ("words",)
    layer_groups = model.LAYER_GROUPS
    extendable_assets = ("words", "characters")
    head: TaggingHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.types: list[str] = assets["types"]
        self.vocabulary = Vocabulary(assets["words"], buckets=1)
        affixes = AffixHasher(self.vocabulary, assets["words"], PREFIXES, SUFFIXES, max(config.affix_buckets, 1))
        self.characters = features.CharacterVocabulary(assets["characters"])
        self.token_encoder = features.TokenEncoder(self.vocabulary, affixes, self.characters, config.wide_buckets or 0)
        self.type_ids = tagging.make_type_table(self.types)
        self.scheme = config.tag_scheme
        self.head = TaggingHead(self.types, self.scheme, self.decode)

    open_source = staticmethod(open_tagged_source)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        reason = "this recipe learns whole sentences, not single labels"
        reject_settings(config, ("label_smoothing", "class_weights"), reason)
        splits = load_splits(config, data.FIELDS, lambda: data.load_addresses(config.offline), cls.open_source)
        if not config.pretrained_vectors:
            return splits
        fingerprints = [splits.fingerprint, file_digest(expand_path(config.pretrained_vectors))]
        return dataclasses.replace(splits, fingerprint=combine_fingerprints(fingerprints))

    @classmethod
    def build_assets(cls, config: Config, train: ExampleSource) -> Assets:
        counts = features.count_tokens(train)
        words = most_frequent(counts.words, config.vocabulary_size, config.min_count)
        words, vector_dim = pretrained.extend_words(config, words, train.name)
        return {
            "types": sorted(counts.types),
            "words": words,
            "word_counts": [counts.words[word] for word in words],
            "vector_dim": vector_dim,
            "num_sentences": counts.sentences,
            "characters": most_frequent(counts.characters, 2000, 2),
        }

    @classmethod
    def extend_assets(cls, config: Config, train: ExampleSource, known: Assets) -> Assets:
        assets = cls.build_assets(config, train)
        if assets["vector_dim"] not in (0, known["vector_dim"]):
            raise ConfigError(
                f"{config.pretrained_vectors} has vectors of {assets['vector_dim']} numbers, and those of the run that"
                f" --init-from names have {known['vector_dim'] or 'none'}. Leave --pretrained-vectors out."
            )
        own = assets if train.without_replay is None else cls.build_assets(config, train.without_replay)
        extended = cls.extend_known(assets, known)
        counts = Counter(dict(zip(known["words"], known["word_counts"], strict=True)))
        counts.update(dict(zip(assets["words"], assets["word_counts"], strict=True)))
        return extended | {
            "word_counts": [counts[word] for word in extended["words"]],
            "vector_dim": known["vector_dim"],
            "known_word_fraction": known_word_fraction(own["words"], known["words"]),
        }

    @classmethod
    def resolve_defaults(cls, config: Config, assets: Assets) -> Config:
        # The wide branch learns in a few epochs, and more of them overfit.
        max_epochs = 15 if config.init_from else 10
        epochs = resolve_epochs(config, assets, assets["num_sentences"], 150_000, 3, max_epochs, fill=False)
        fitting = features.choose_wide_buckets(assets["word_counts"])
        scheme = config.tag_scheme or tagging.choose_scheme(len(assets["types"]))
        buckets = fitting if config.wide_buckets is None else config.wide_buckets
        return dataclasses.replace(config, epochs=epochs, tag_scheme=scheme, wide_buckets=buckets)

    @classmethod
    def check_data(cls, config: Config, splits: Splits) -> JsonObject:
        def get_vocabulary(tokens: Iterable[Sequence[str]]) -> set[str]:
            counts = count_words(tokens, words=features.normalize_words)
            return set(most_frequent(counts, config.vocabulary_size, config.min_count))

        return check_tagged_sentences(splits, features.normalize_words, get_vocabulary)

    def encode(self, inputs: Batch) -> Batch:
        tokens = inputs["tokens"] if "tokens" in inputs else tokenize_with_offsets(inputs["text"])[0]
        return self.token_encoder.encode(tokens)

    def encode_targets(self, examples: Batch) -> Batch:
        return {"tags": tagging.encode_tags(examples["tags"], self.type_ids, self.scheme)}

    def build_model(self) -> keras.Model:
        counts, vector_dim = self.assets["word_counts"], self.assets["vector_dim"]
        return model.build_model(self.config, counts, self.characters.size, len(self.types), vector_dim)

    def initialize_weights(
        self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], inherited: Collection[str] = ()
    ) -> None:
        if self.config.pretrained_vectors:
            words, num_more = self.vocabulary.words, self.config.pretrained_vocabulary_size
            vectors, dim = pretrained.load_vectors(self.config.pretrained_vectors, words, num_more)
            rows = pretrained.embedding_matrix(vectors, words, dim, self.vocabulary.first, 1)
            model.get_layer("vectors").embeddings.assign(rows)

    def get_weight_axes(self) -> Mapping[str, Mapping[int, NamedAxis]]:
        words, characters = self.vocabulary.named_axis(), self.characters.named_axis()
        tags = NamedAxis(tagging.tag_names(self.types, self.scheme), labels=self.types)
        window = range(-self.config.wide_window, self.config.wide_window + 1)
        scores = NamedAxis([f"{tag} at {place}" for place in window for tag in tags.names])
        # Without a file, a new word has no pretrained vector, as an unknown one has none.
        vectors = dataclasses.replace(words, init_new_from=None) if self.config.pretrained_vectors else words
        tables = {"words_": words, "vectors": vectors, "character_vectors/rows": characters}
        return {
            **{f"{table}/embeddings": {0: rows} for table, rows in tables.items()},
            **{"tags/kernel": {1: tags}, "tags/bias": {0: tags}, "wide/rows/embeddings": {1: scores}},
            **{"crf/start": {0: tags}, "crf/between": {0: tags, 1: tags}, "crf/end": {0: tags}},
        }

    def compute_loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        tags, lengths = tf.maximum(target["tags"], 0), outputs["lengths"]
        known = tf.cast(tf.reduce_all(target["tags"] >= 0, axis=1), tf.float32)

        def negative_log_likelihood(emissions: tf.Tensor) -> tf.Tensor:
            if self.config.decoder == "crf":
                return -model.get_layer("crf").log_likelihood(emissions, tags, lengths)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tags, emissions)
            return tf.reduce_sum(losses * tf.sequence_mask(lengths, tf.shape(tags)[1], tf.float32), axis=1)

        sums, lstm_weight = negative_log_likelihood(outputs["emissions"]), self.config.lstm_loss_weight
        if lstm_weight and "lstm_emissions" in outputs:
            sums = (1 - lstm_weight) * sums + lstm_weight * negative_log_likelihood(outputs["lstm_emissions"])
        return sums * known, tf.cast(lengths, tf.float32) * known

    def get_transitions(self, model: keras.Model) -> Transitions | None:
        """Return the scores of a tag after another; None where each is chosen by itself."""
        return model.get_layer("crf").transitions if self.config.decoder == "crf" else None

    def decode(self, model: keras.Model, emissions: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return ids of the best tags, int32 [batch, time], 0 beyond the length."""
        return tagging.best_tags(emissions, lengths, self.get_transitions(model))

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return IOB2 tags and the probability of each one's entity, [batch, time], and lengths [batch]."""
        outputs = model(features, training=False)
        emissions, lengths = outputs["decided"], outputs["lengths"]
        best = self.decode(model, emissions, lengths)
        ids = tagging.repair_iob2(tf.gather(tf.constant(tagging.iob2_ids(len(self.types), self.scheme)), best))
        begins = (ids % 2 == 1) | (ids == 0)  # 0 outside, odd ones begin
        scores = tagging.entity_probabilities(emissions, best, begins, lengths, self.get_transitions(model))
        tags = tf.gather(tf.constant(tagging.tag_names(self.types, "iob2")), ids)
        return {"tags": tags, "scores": scores, "lengths": lengths}

    def make_endpoints(self, model: keras.Model) -> dict[str, Endpoint]:
        return serving.Tagger(self.encode, functools.partial(self.predict, model)).endpoints()

    def edge_case_inputs(self) -> list[Example]:
        return [{**example, "tokens": example["text"].split()} for example in super().edge_case_inputs()]

    @property
    def output_formats(self) -> Mapping[str, OutputFormat]:
        return {"conll": OutputFormat(writing.format_conll), "html": writing.html_format(self.types)}
