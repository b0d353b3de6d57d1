"""The recipe of named entity recognition: what is learned from the data, how tokens become inputs, what is served."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras
import tensorflow as tf

from common.config import passes, refuse
from common.data.check_tags import named_entities
from common.data.loading import combined, digest, open_tagged_source
from common.data.splitting import load_splits
from common.errors import ConfigError, DataError
from common.modeling.layers.crf import Moves
from common.recipe import Recipe
from common.runtime.open_file import located
from common.text.tokenizer import tokenised
from common.text.vocabulary import Affixes, Vocabulary, counted, familiar, frequent
from common.types import Assets, Axis, Batch, Endpoint, Example, Field, Format, JsonObject, Source, Splits

from . import data, features, model, pretrained, serving, tagging, writing
from .config import PREFIXES, SUFFIXES, Config
from .scoring import TaggingHead


class NerRecipe(Recipe[Config]):
    """Text or tokens to entities."""

    fields = data.FIELDS
    inputs = (Field("text", "text", ("sentence", "content", "body", "document")),)
    length_keys = ("words",)
    parts = model.PARTS
    extendable_assets = ("words", "characters")
    head: TaggingHead

    def __init__(self, config: Config, assets: Assets):
        super().__init__(config, assets)
        self.types: list[str] = assets["types"]
        self.vocabulary = Vocabulary(assets["words"], buckets=1)
        buckets = max(config.affix_buckets, 1)
        self.affixes = Affixes(self.vocabulary, assets["words"], PREFIXES, SUFFIXES, buckets)
        self.characters = features.CharacterIds(assets["characters"])
        numbers = tf.range(len(self.types), dtype=tf.int32)
        self.type_ids = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(self.types, numbers), -1)
        self.scheme = config.scheme
        self.head = TaggingHead(self.types, self.scheme, self.decode)

    open_source = staticmethod(open_tagged_source)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        refuse(config, ("label_smoothing", "class_weights"), "this recipe learns whole sentences, not single labels")
        splits = load_splits(config, data.FIELDS, lambda: data.addresses(config.offline), cls.open_source)
        if not config.vectors:
            return splits
        return dataclasses.replace(splits, fingerprint=combined([splits.fingerprint, digest(located(config.vectors))]))

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        counts = features.count_tokens(train)
        words = frequent(counts.words, config.vocabulary, config.min_count)
        vector_units = 0
        if config.vectors:
            vectors, vector_units = pretrained.read(config.vectors, words, config.vector_words)
            if not vectors:
                raise DataError(f"{config.vectors} has no vector of any word of {train.name}: name another file.")
            words += sorted(set(vectors) - set(words))
        return {
            "types": sorted(counts.types),
            "words": words,
            "word_counts": [counts.words[word] for word in words],
            "vector_units": vector_units,
            "sentence_count": counts.sentences,
            "characters": frequent(counts.characters, 2000, 2),
        }

    @classmethod
    def relearn(cls, config: Config, train: Source, known: Assets) -> Assets:
        found = cls.learn(config, train)
        if found["vector_units"] not in (0, known["vector_units"]):
            raise ConfigError(
                f"{config.vectors} has vectors of {found['vector_units']} numbers, and those of the run that"
                f" --init-from names have {known['vector_units'] or 'none'}. Leave --vectors out."
            )
        own = found if train.own is None else cls.learn(config, train.own)
        extended = cls.extend_known(found, known)
        counts = Counter(dict(zip(known["words"], known["word_counts"], strict=True)))
        counts.update(dict(zip(found["words"], found["word_counts"], strict=True)))
        return extended | {
            "word_counts": [counts[word] for word in extended["words"]],
            "vector_units": known["vector_units"],
            "familiar": familiar(own["words"], known["words"]),
        }

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        # The linear part learns in a few passes, and more of them overfit.
        most = 15 if config.init_from else 10
        epochs = passes(config, assets, assets["sentence_count"], 150_000, 3, most, fill=False)
        buckets = config.wide_buckets
        if buckets is None:  # a word has some features of its own and shares others
            buckets = min(max(6 * sum(count > 0 for count in assets["word_counts"]), 2_000), 60_000)
        scheme = config.scheme or tagging.choose_scheme(len(assets["types"]))
        return dataclasses.replace(config, epochs=epochs, scheme=scheme, wide_buckets=buckets)

    @classmethod
    def check(cls, config: Config, splits: Splits) -> JsonObject:
        def known(tokens: Iterable[Sequence[str]]) -> set[str]:
            uses = counted(tokens, words=features.normal)
            return set(frequent(uses, config.vocabulary, config.min_count))

        return named_entities(splits, features.normal, known)

    def encode(self, inputs: Batch) -> Batch:
        tokens = inputs["tokens"] if "tokens" in inputs else tokenised(inputs["text"])[0]
        # Each different token is looked at once.
        flat, places = tf.unique(tokens.values)
        normal = features.normal(flat)
        ids = self.vocabulary.ids(tf.RaggedTensor.from_row_lengths(normal, [tf.size(normal)]))
        affixes = self.affixes.ids(ids.with_values(normal), ids).values
        found = {"words": ids.values, "affixes": tf.cast(affixes, tf.uint16)}
        found["shapes"] = tf.cast(features.shapes(flat), tf.uint16)
        found["characters"] = tf.cast(self.characters.ids(flat), tf.uint16)
        if self.config.wide_buckets:
            found["linear"] = tf.cast(features.linear(flat, normal, self.config.wide_buckets), tf.uint16)
        return {name: tokens.with_values(tf.gather(values, places)) for name, values in found.items()}

    def encode_target(self, examples: Batch) -> Batch:
        return {"tags": tagging.ids(examples["tags"], self.type_ids, self.scheme)}

    def build_model(self) -> keras.Model:
        counts, units = self.assets["word_counts"], self.assets["vector_units"]
        return model.build(self.config, counts, self.characters.size, len(self.types), units)

    def begin(self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()) -> None:
        if self.config.vectors:
            words = self.vocabulary.known
            vectors, units = pretrained.read(self.config.vectors, words, self.config.vector_words)
            rows = pretrained.matrix(vectors, words, units, self.vocabulary.first, 1)
            model.get_layer("vectors").embeddings.assign(rows)

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        words = self.vocabulary.axis()
        tags = Axis(tagging.names(self.types, self.scheme), labels=self.types)
        reach = range(-self.config.wide_reach, self.config.wide_reach + 1)
        seen = Axis([f"{tag} at {place}" for place in reach for tag in tags.names])
        # Without a file, a new word has no pretrained vector, as an unknown one has none.
        vectors = dataclasses.replace(words, like=None) if self.config.vectors else words
        tables = {"words_": words, "vectors": vectors, "character_vectors/rows": self.characters.axis()}
        return {
            **{f"{table}/embeddings": {0: rows} for table, rows in tables.items()},
            **{"tags/kernel": {1: tags}, "tags/bias": {0: tags}, "wide/rows/embeddings": {1: seen}},
            **{"crf/start": {0: tags}, "crf/between": {0: tags, 1: tags}, "crf/end": {0: tags}},
        }

    def loss(self, model: keras.Model, target: Batch, outputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        tags, lengths = target["tags"], outputs["lengths"]
        known = tf.cast(tf.reduce_all(tags >= 0, axis=1), tf.float32)
        tags = tf.maximum(tags, 0)

        def of(emissions: tf.Tensor) -> tf.Tensor:
            if self.config.decoder == "crf":
                return -model.get_layer("crf").log_likelihood(emissions, tags, lengths)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(tags, emissions)
            return tf.reduce_sum(each * tf.sequence_mask(lengths, tf.shape(tags)[1], tf.float32), axis=1)

        sums, alone = of(outputs["emissions"]), self.config.lstm_loss
        if alone and "lstm_emissions" in outputs:
            sums = (1 - alone) * sums + alone * of(outputs["lstm_emissions"])
        return sums * known, tf.cast(lengths, tf.float32) * known

    def moves(self, model: keras.Model) -> Moves | None:
        """Return which tag follows which how well; None where each is chosen by itself."""
        return model.get_layer("crf").moves if self.config.decoder == "crf" else None

    def decode(self, model: keras.Model, emissions: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return ids of the best tags, int32 [batch, time], 0 beyond the length."""
        return tagging.best_tags(emissions, lengths, self.moves(model))

    def predict(self, model: keras.Model, features: Batch) -> Mapping[str, tf.Tensor]:
        """Return IOB2 tags and the probability of each one's entity, [batch, time], and lengths [batch]."""
        outputs = model(features, training=False)
        emissions, lengths = outputs["decided"], outputs["lengths"]
        best = self.decode(model, emissions, lengths)
        ids = tagging.mended(tf.gather(tf.constant(tagging.as_iob2(len(self.types), self.scheme)), best))
        begins = (ids % 2 == 1) | (ids == 0)  # 0 outside, odd ones begin
        scores = tagging.entity_probabilities(emissions, best, begins, lengths, self.moves(model))
        tags = tf.gather(tf.constant(tagging.names(self.types, "iob2")), ids)
        return {"tags": tags, "scores": scores, "lengths": lengths}

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        return serving.Tagger(self.encode, functools.partial(self.predict, model)).endpoints()

    def odd_inputs(self) -> list[Example]:
        return [{**example, "tokens": example["text"].split()} for example in super().odd_inputs()]

    @property
    def formats(self) -> Mapping[str, Format]:
        return {"conll": Format(writing.conll), "html": writing.highlighted(self.types)}
