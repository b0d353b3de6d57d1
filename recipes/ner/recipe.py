"""The recipe of named entity recognition: what is learned from the data, how tokens become inputs, what is served."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from common import check, check_tags, encoding, metrics, sources, text, uncertain
from common.config import passes, refuse
from common.errors import ConfigError, DataError
from common.layers import crf
from common.metrics import UNSEEN
from common.opening import combined, digest, open_tagged_source
from common.readers.files import located
from common.recipe import Ask, Assets, Axis, Batch, Endpoint, Example, Field, Format, Source, Splits, Tally
from common.tags import entities
from common.tokens import tokenised

from . import data, features, model, pretrained, tagging, writing
from .config import PREFIXES, SUFFIXES, Config

BIASES = np.arange(-4, 2.25, 0.5)  # that are tried for O
ROWS, KINDS = 64, (tf.int32, tf.float32)  # that an endpoint tags at once, and what it finds
FITTED_ON = 5_000  # about so many sentences of the validation part


class Recipe:
    """Text or tokens to entities."""

    fields = data.FIELDS
    inputs = (Field("text", "text", ("sentence", "content", "body", "document")),)
    length_keys = ("words",)
    parts: ClassVar[Mapping[str, Sequence[str]]] = {
        "embedding": ("words_", "vectors", "affix_vectors", "shape_vectors", "character_vectors"),
        "encoder": ("lstm_*",),
        "head": ("tags", "wide", "crf", "outside"),
    }
    monitor, monitor_mode = "f1", "max"

    def __init__(self, config: Config, assets: Assets):
        self.config, self.assets = config, assets
        self.types: list[str] = assets["types"]
        self.vocabulary = text.Vocabulary(assets["words"], buckets=1)
        buckets = max(config.affix_buckets, 1)
        self.affixes = text.Affixes(self.vocabulary, assets["words"], PREFIXES, SUFFIXES, buckets)
        self.characters = features.CharacterIds(assets["characters"])
        numbers = tf.range(len(self.types), dtype=tf.int32)
        self.type_ids = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(self.types, numbers), -1)
        self.decoder: tuple[keras.Model, Callable[[Any, Any], Any]] | None = None

    open_source = staticmethod(open_tagged_source)

    @classmethod
    def load_data(cls, config: Config) -> Splits:
        refuse(config, ("label_smoothing", "class_weights"), "this recipe learns whole sentences, not single labels")
        splits = sources.load_splits(config, data.FIELDS, lambda: data.addresses(config.offline), cls.open_source)
        if config.vectors:
            fingerprint = combined([splits.fingerprint, digest(located(config.vectors))])
            return dataclasses.replace(splits, fingerprint=fingerprint)
        return splits

    @classmethod
    def learn(cls, config: Config, train: Source) -> Assets:
        types: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        sentences = 0

        def tokens() -> Iterator[list[str]]:
            for batch in encoding.in_batches(train, encoding.ENCODE_BATCH):
                nonlocal sentences
                sentences += len(batch)
                for example in batch:
                    types.update(tag[2:] for tag in example["tags"] if tag.startswith("B-"))
                    for token in example["tokens"]:
                        letters.update(token)
                yield [token for example in batch for token in example["tokens"]]

        uses = text.counted(tokens(), words=features.normal)
        words = text.frequent(uses, config.vocabulary, config.min_count)
        if not types:
            broken = train.problems.summary()
            raise DataError(f"{train.name}: there is no entity to learn from.{broken} Give more --data.")
        vector_units = 0
        if config.vectors:
            found, vector_units = pretrained.read(config.vectors, words, config.vector_words)
            if not found:
                raise DataError(f"{config.vectors} has no vector of any word of {train.name}: name another file.")
            words += sorted(set(found) - set(words))
        return {
            "types": sorted(types),
            "words": words,
            "word_counts": [uses[word] for word in words],
            "vector_units": vector_units,
            "sentence_count": sentences,
            "characters": text.frequent(letters, 2000, 2),
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
        words = text.extended(known["words"], found["words"])
        counts = Counter(dict(zip(known["words"], known["word_counts"], strict=True)))
        counts.update(dict(zip(found["words"], found["word_counts"], strict=True)))
        return found | {
            "words": words,
            "word_counts": [counts[word] for word in words],
            "vector_units": known["vector_units"],
            "characters": text.extended(known["characters"], found["characters"]),
            "familiar": text.familiar(own["words"], known["words"]),
        }

    @classmethod
    def settle(cls, config: Config, assets: Assets) -> Config:
        # The linear part learns in a few passes, and more of them overfit.
        most = 15 if config.init_from else 10
        settled: dict[str, Any] = {
            "epochs": passes(config, assets, assets["sentence_count"], 150_000, 3, most, fill=False)
        }
        if config.scheme is None:
            # The linear part has weights for each tag, and BIOES twice as many tags.
            settled["scheme"] = "bioes" if len(assets["types"]) <= 16 else "iob2"
        if config.wide_buckets is None:
            # A word has some features of its own and shares others.
            learned = sum(count > 0 for count in assets["word_counts"])
            settled["wide_buckets"] = min(max(6 * learned, 2_000), 60_000)
        return dataclasses.replace(config, **settled)

    @classmethod
    def check(cls, config: Config, splits: Splits) -> dict[str, Any]:
        def known(tokens: Iterable[Sequence[str]]) -> set[str]:
            uses = text.counted(tokens, words=features.normal)
            return set(text.frequent(uses, config.vocabulary, config.min_count))

        return check_tags.named_entities(splits, features.normal, known)

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
        return {"tags": tagging.ids(examples["tags"], self.type_ids, self.config.scheme)}

    def build_model(self) -> keras.Model:
        counts, units = self.assets["word_counts"], self.assets["vector_units"]
        return model.build(self.config, counts, self.characters.size, len(self.types), units)

    def begin(self, model: keras.Model, batches: Iterable[tuple[Batch, Batch]], kept: Collection[str] = ()) -> None:
        if self.config.vectors:
            words = self.assets["words"]
            found, units = pretrained.read(self.config.vectors, words, self.config.vector_words)
            rows = pretrained.matrix(found, words, units, self.vocabulary.first, 1)
            model.get_layer("vectors").embeddings.assign(rows)

    def axes(self) -> Mapping[str, Mapping[int, Axis]]:
        words = self.vocabulary.axis()
        tags = Axis(tagging.names(self.types, self.config.scheme), labels=self.types)
        reach = range(-self.config.wide_reach, self.config.wide_reach + 1)
        seen = Axis([f"{tag} at {place}" for place in reach for tag in tags.names])
        return {
            "words_/embeddings": {0: words},
            # Without a file, a new word has no pretrained vector, as an unknown one has none.
            "vectors/embeddings": {0: dataclasses.replace(words, like=None) if self.config.vectors else words},
            "character_vectors/rows/embeddings": {0: self.characters.axis()},
            "tags/kernel": {1: tags}, "tags/bias": {0: tags}, "wide/rows/embeddings": {1: seen},
            "crf/start": {0: tags}, "crf/between": {0: tags, 1: tags}, "crf/end": {0: tags},
        }  # fmt: skip

    def warm_up(self, model: keras.Model) -> None:
        return None

    def orthogonal(self, model: keras.Model) -> Sequence[Any]:
        return []

    def begin_epoch(self, model: keras.Model, epoch: int) -> None:
        pass

    def loss(self, model: keras.Model, target: Batch, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
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

    def decoded(self, model: keras.Model, emissions: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Ids of the best tags, int32 [batch, time], 0 beyond the length."""
        if self.config.decoder == "crf":
            return crf.best_paths(emissions, lengths, model.get_layer("crf").moves)[0][:, 0]
        best = tf.argmax(emissions, axis=2, output_type=tf.int32)
        return best * tf.sequence_mask(lengths, tf.shape(best)[1], tf.int32)

    def measures(self, model: keras.Model) -> _Validation:
        if self.decoder is None or self.decoder[0] is not model:  # compiled once, not for each epoch
            specs = [tf.TensorSpec([None, None, None], tf.float32), tf.TensorSpec([None], tf.int32)]
            decode = tf.function(functools.partial(self.decoded, model), input_signature=specs, autograph=False)
            self.decoder = model, decode
        bias = float(model.get_layer("outside").bias.numpy())
        return _Validation([*self.types, UNSEEN], self.config.scheme, self.decoder[1], bias)

    def conclude(self, model: keras.Model, measures: _Validation) -> None:
        model.get_layer("outside").bias.assign(measures.fit())

    def score(self, batches: Iterable[list[Example]], ask: Ask) -> dict[str, Any]:
        given, raw = metrics.Entities(), metrics.Entities()
        for batch in batches:
            for example, outputs in zip(batch, metrics.in_order(ask, "serving_default", batch), strict=True):
                gold, found = _gold_places(example), _found_places(outputs)
                raw.update(gold, found)
                if "entities" in example:
                    given.update(gold, found)
            tokenised = [example for example in batch if "entities" not in example]
            for example, outputs in zip(tokenised, metrics.in_order(ask, "tokens", tokenised), strict=True):
                given.update(entities(example["tags"]), _found_entities(example, outputs))
        measured = given.result()
        measured["per_type"] = self._known(measured["per_type"])
        return {"f1": measured.pop("f1"), "f1_raw_text": raw.result()["f1"], **measured}

    def tally(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        def pairs() -> Iterator[tuple[Any, Any]]:
            for batch in batches:
                # Each as its data has it, one by characters and the other by tokens.
                of_text = iter(metrics.in_order(ask, "serving_default", [one for one in batch if "entities" in one]))
                of_tokens = iter(metrics.in_order(ask, "tokens", [one for one in batch if "entities" not in one]))
                for example in batch:
                    if "entities" in example:
                        yield _gold_places(example), _found_places(next(of_text))
                    else:
                        yield entities(example["tags"]), _found_entities(example, next(of_tokens))

        return metrics.tally_of_entities(pairs())

    def _known(self, per_type: dict[str, Any]) -> dict[str, Any]:
        """The same with all types that training lacks under one name."""
        known = {kind: one for kind, one in per_type.items() if kind in self.types}
        count = sum(one["support"] for kind, one in per_type.items() if kind not in self.types)
        return known | ({UNSEEN: {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": count}} if count else {})

    def serve(self, model: keras.Model) -> dict[str, Endpoint]:
        names = tf.constant(tagging.names(self.types, "iob2"))
        to_iob2 = tf.constant(tagging.as_iob2(len(self.types), self.config.scheme))

        def of_rows(inputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
            """Ids of IOB2 tags and scores of some rows, as flat as the rows are, [steps]."""
            dense = encoding.densified(inputs)
            # Without a single token there would be no step to read.
            missing = tf.maximum(1 - tf.shape(dense["words"])[1], 0)
            dense = {k: tf.pad(v, [[0, 0], [0, missing]] + [[0, 0]] * (v.shape.rank - 2)) for k, v in dense.items()}
            outputs = model(dense, training=False)
            emissions, lengths = outputs["decided"], outputs["lengths"]
            best = self.decoded(model, emissions, lengths)
            ids = tagging.mended(tf.gather(to_iob2, best))  # 0 outside, odd ones begin
            begins = (ids % 2 == 1) | (ids == 0)
            if self.config.decoder == "crf":
                moves = model.get_layer("crf").moves
                scores = crf.segment_probability(emissions, best, begins, lengths, moves)
            else:
                scores = tagging.products(tf.nn.softmax(emissions), best, begins, lengths)
            present = tf.sequence_mask(lengths, tf.shape(best)[1])
            return tf.boolean_mask(ids, present), tf.boolean_mask(scores, present)

        def tagged(tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
            lengths = tf.cast(tokens.row_lengths(), tf.int32)
            order = tf.argsort(lengths, stable=True)
            inputs = {name: tf.gather(value, order) for name, value in self.encode({"tokens": tokens}).items()}
            rows = tf.size(lengths)

            # Some rows of like length at a time, for all would be padded to the longest.
            def step(first: tf.Tensor, ids: tf.TensorArray, scores: tf.TensorArray) -> tuple[Any, ...]:
                found = of_rows({name: value[first : first + ROWS] for name, value in inputs.items()})
                place = first // ROWS
                return first + ROWS, ids.write(place, found[0]), scores.write(place, found[1])

            groups = tf.maximum((rows + ROWS - 1) // ROWS, 1)
            arrays = [tf.TensorArray(kind, groups, infer_shape=False, element_shape=[None]) for kind in KINDS]
            _, *arrays = tf.while_loop(
                lambda first, *_: (first < rows) | (first == 0), step, (tf.constant(0), *arrays), parallel_iterations=2
            )
            found = [tf.RaggedTensor.from_row_lengths(one.concat(), tf.gather(lengths, order)) for one in arrays]
            ids, scores = (tf.gather(one, tf.argsort(order)) for one in found)
            tags = ids.with_values(tf.gather(names, ids.values))
            return {"tags": tags.to_tensor(), "scores": scores.to_tensor(), "lengths": lengths}

        def of_text(text: tf.Tensor) -> Mapping[str, tf.Tensor]:
            tokens, starts, ends = tokenised(text)
            places = {"tokens": tokens.to_tensor(), "starts": starts.to_tensor(), "ends": ends.to_tensor()}
            return places | tagged(tokens)

        def of_tokens(tokens: tf.Tensor) -> Mapping[str, tf.Tensor]:
            place = tf.range(1, tf.shape(tokens)[1] + 1)
            lengths = tf.maximum(tf.reduce_max(tf.where(tokens != "", place, 0), axis=1), 0)
            found = tagged(tf.RaggedTensor.from_tensor(tokens, lengths))
            padding = [[0, 0], [0, tf.shape(tokens)[1] - tf.shape(found["tags"])[1]]]  # as wide as what was given
            return found | {name: tf.pad(found[name], padding) for name in ("tags", "scores")}

        return {
            "serving_default": Endpoint(of_text, {"text": tf.TensorSpec([None], tf.string, "text")}),
            "tokens": Endpoint(of_tokens, {"tokens": tf.TensorSpec([None, None], tf.string, "tokens")}),
        }

    def doubts(self) -> list[str]:
        return check.alike(self.types) + text.strange(self.assets.get("familiar"))

    def odd_inputs(self) -> list[Example]:
        long = "word " * 1_300
        texts = ["", " ", "zxqv wvutsrq", "😀👩‍👩‍👧🇩🇪 ❤️", long, "x" * 10_000, "漢字かな", "a\x00b", b"caf\xe9 \xff\xfe"]
        return [{"text": text, "tokens": text.split()} for text in texts]

    def present(self, example: Example, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"text": example["text"], "entities": writing.found(example, outputs)}

    def uncertainty(self, outputs: Mapping[str, Any], by: str | None) -> float:
        """That of the least certain entity, or token outside of any."""
        return uncertain.of_confidence(outputs["scores"][: int(outputs["lengths"])].min(initial=1.0), by)

    @property
    def formats(self) -> Mapping[str, Format]:
        return {"conll": Format(writing.conll), "html": writing.highlighted(self.types)}


def _gold_places(example: Example) -> list[tuple[int, int, str]]:
    """The true entities of an example by the characters where they stand in its text."""
    if "entities" in example:
        return [(start, end, kind) for start, end, kind in example["entities"]]
    ends = np.cumsum([len(token) + 1 for token in example["tokens"]]) - 1
    starts = ends - [len(token) for token in example["tokens"]]
    return [(int(starts[first]), int(ends[last - 1]), kind) for first, last, kind in entities(example["tags"])]


def _found_places(outputs: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    """The entities that are found in a text, by characters; `outputs` is one row of serving_default."""
    return [place[:3] for place in writing.places(outputs)]


def _found_entities(example: Example, outputs: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    """The entities that are found among tokens, by these; `outputs` is one row of the endpoint "tokens"."""
    return entities([tag.decode("utf-8") for tag in outputs["tags"][: len(example["tokens"])]])


class _Validation:
    """Entity measures of the model's outputs, with `bias` added to the score of O."""

    def __init__(self, types: list[str], scheme: str, decode: Callable[[Any, Any], Any], bias: float):
        self.types, self.scheme, self.decode, self.bias = types, scheme, decode, bias
        self.kept: list[tuple[np.ndarray, np.ndarray, list[Any]]] = []  # trained emissions, lengths, true entities

    def update(self, target: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        lengths = outputs["lengths"]
        true = [self._entities(row[:length]) for row, length in zip(target["tags"], lengths, strict=True)]
        self.kept.append((outputs["emissions"], lengths, true))

    def _entities(self, row: np.ndarray) -> list[tuple[int, int, str]]:
        return [(first, last, self.types[kind]) for first, last, kind in tagging.entities(row, self.scheme)]

    def _measured(self, bias: float, batches: list[Any]) -> dict[str, Any]:
        measures = metrics.Entities()
        for emissions, lengths, true in batches:
            moved = emissions.copy()
            moved[:, :, 0] += bias
            found = self.decode(moved, lengths).numpy()
            for gold, row, length in zip(true, found, lengths, strict=True):
                measures.update(gold, self._entities(row[:length]))
        return measures.result()

    def fit(self) -> float:
        """What added to the score of O gives the best F1, the smallest such change; it is measured with from now on."""
        # They come sorted by length, so of many every second or third batch, and so on.
        some = self.kept[:: -(-sum(len(true) for _, _, true in self.kept) // FITTED_ON) or 1]
        self.bias = float(max(sorted(BIASES, key=abs), key=lambda bias: self._measured(bias, some)["f1"]))
        return self.bias

    def result(self) -> dict[str, Any]:
        return self._measured(self.bias, self.kept)
