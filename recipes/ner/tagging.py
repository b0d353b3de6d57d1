"""Tags as ids: 0 is O, and each type of entity has two (IOB2) or four (BIOES) from there on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from common.modeling.layers.crf import segment_probability, viterbi_n_best
from common.modeling.layers.crf_recursions import Transitions

PLACES = {"iob2": "BI", "bioes": "BIES"}  # in the order of ids


def choose_scheme(num_types: int) -> str:
    """Return the scheme for so many types where none is asked for.

    The wide branch has weights for each tag, and BIOES twice as many tags.
    """
    return "bioes" if num_types <= 16 else "iob2"


def make_type_table(types: Sequence[str]) -> tf.lookup.StaticHashTable:
    """Return a lookup table from a type of entity to its number, -1 for unknown ones."""
    numbers = tf.range(len(types), dtype=tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(types, numbers), -1)


def tag_names(types: Sequence[str], scheme: str) -> list[str]:
    """Return tags by id.

    >>> tag_names(["LOC"], "bioes")
    ['O', 'B-LOC', 'I-LOC', 'E-LOC', 'S-LOC']
    """
    return ["O", *(f"{place}-{kind}" for kind in types for place in PLACES[scheme])]


def transition_mask(num_types: int, scheme: str) -> Transitions:
    """Return which tag may begin a sentence, follow another and end it, as lists of 0 and 1."""
    places = ["O"] + list(PLACES[scheme]) * num_types
    kinds = [-1] + [kind for kind in range(num_types) for _ in PLACES[scheme]]
    begins = np.array([place in "OBS" for place in places])
    inside = ~begins
    closed = np.array([place in ("OBIES" if scheme == "iob2" else "OES") for place in places])  # nothing must follow
    open_ = np.array([place in "BI" for place in places])  # more of it may follow
    same = np.array(kinds)[:, None] == np.array(kinds)[None, :]
    between = (closed[:, None] & begins[None, :]) | (open_[:, None] & inside[None, :] & same)
    return Transitions(*(mask.astype(int).tolist() for mask in (begins, between, closed)))


def encode_tags(tags: tf.RaggedTensor, types: tf.lookup.StaticHashTable, scheme: str) -> tf.RaggedTensor:
    """Return ids of IOB2 tags, int32 [batch, (time)]; of unknown types -1 for the first token and -2 for others.

    Args:
      types: as `make_type_table` gives it.
    """
    flat = tags.values
    inside = tf.strings.regex_full_match(flat, r"(?s)I-.*")
    entity = tf.strings.regex_full_match(flat, r"(?s)[BI]-.*")
    kind = types.lookup(tf.strings.regex_replace(flat, r"^[BI]-", ""))
    rows = tags.value_rowids()
    same = rows[1:] == rows[:-1]
    # A piece that was cut out of a very long entity begins with it.
    inside &= tf.concat([tf.zeros_like(inside[:1]), same], axis=0)
    # Whether the entity goes on in the next token of the same sentence.
    goes_on = tf.concat([inside[1:] & same, tf.zeros_like(inside[:1])], axis=0)
    place = tf.cast(inside, tf.int32)  # 0 begins, 1 inside
    if scheme == "bioes":
        place = tf.where(goes_on, place, tf.where(inside, 2, 3))
    known = 1 + kind * len(PLACES[scheme]) + place
    unknown = tf.where(inside, -2, -1)
    return tags.with_values(tf.where(entity, tf.where(kind >= 0, known, unknown), 0))


def best_tags(emissions: tf.Tensor, lengths: tf.Tensor, moves: Transitions | None) -> tf.Tensor:
    """Return ids of the best tags, int32 [batch, time], 0 beyond the length.

    Args:
      emissions: float32 [batch, time, tags].
      lengths: int32 [batch].
      moves: scores of a CRF; None where each tag is chosen by itself.
    """
    if moves is not None:
        return viterbi_n_best(emissions, lengths, moves)[0][:, 0]
    best = tf.argmax(emissions, axis=2, output_type=tf.int32)
    return best * tf.sequence_mask(lengths, tf.shape(best)[1], tf.int32)


def entity_probabilities(
    emissions: tf.Tensor, tags: tf.Tensor, begins: tf.Tensor, lengths: tf.Tensor, moves: Transitions | None
) -> tf.Tensor:
    """Return the probability of each entity at each of its steps, and of each O, [batch, time].

    Args:
      emissions: float32 [batch, time, tags].
      tags: int32 [batch, time].
      begins: bool [batch, time], where an entity or an O begins.
      lengths: int32 [batch].
      moves: scores of a CRF; None where tags are independent.
    """
    if moves is not None:
        return segment_probability(emissions, tags, begins, lengths, moves)
    return segment_products(tf.nn.softmax(emissions), tags, begins, lengths)


def decode_entities(row: np.ndarray, scheme: str) -> list[tuple[int, int, int]]:
    """Return (first token, one past the last, number of the type) of each entity of a legal row of ids.

    Args:
      row: [time], -1 and -2 as `encode_tags` gives them; their type is -1.
    """
    entities: list[tuple[int, int, int]] = []
    per = len(PLACES[scheme])
    for position, tag in enumerate(row.tolist()):
        if tag == 0:
            continue
        kind, place = ((tag - 1) // per, PLACES[scheme][(tag - 1) % per]) if tag > 0 else (-1, "BI"[-1 - tag])
        if place in "IE" and entities and entities[-1][1] == position and entities[-1][2] == kind:
            entities[-1] = (entities[-1][0], position + 1, kind)
        else:
            entities.append((position, position + 1, kind))
    return entities


def iob2_ids(num_types: int, scheme: str) -> list[int]:
    """Return the id in IOB2 of each tag id of a scheme.

    >>> iob2_ids(1, "bioes")  # of O, B, I, E, S
    [0, 1, 2, 2, 1]
    """
    return [0, *(1 + 2 * kind + (place in "IE") for kind in range(num_types) for place in PLACES[scheme])]


def repair_iob2(ids: tf.Tensor) -> tf.Tensor:
    """Return ids of IOB2 tags, int32 [batch, time], an entity's first one made to begin it where it does not.

    >>> repair_iob2(tf.constant([[2, 2, 4, 0, 1]])).numpy().tolist()  # I-0 I-0 I-1 O B-0
    [[1, 2, 3, 0, 1]]
    """
    kinds = (ids + 1) // 2  # 0 outside
    before = tf.pad(kinds[:, :-1], [[0, 0], [1, 0]])
    return tf.where((ids % 2 == 0) & (ids > 0) & (before != kinds), ids - 1, ids)


def segment_products(probabilities: tf.Tensor, tags: tf.Tensor, begins: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the product of each segment's probabilities, at each of its steps, for independent tags: [batch, time].

    Args:
      probabilities: [batch, time, tags].
      tags: int32 [batch, time].
      begins: bool [batch, time].
    """
    logs = tf.math.log(tf.maximum(tf.gather(probabilities, tags, batch_dims=2), 1e-30))
    begins = begins | (tf.range(tf.shape(tags)[1]) == 0)
    segments = tf.cumsum(tf.cast(tf.reshape(begins, [-1]), tf.int32)) - 1
    present = tf.sequence_mask(lengths, tf.shape(tags)[1])
    logs = tf.reshape(tf.where(present, logs, 0.0), [-1])
    total = tf.gather(tf.math.unsorted_segment_sum(logs, segments, tf.size(logs)), segments)
    return tf.where(present, tf.reshape(tf.exp(total), tf.shape(tags)), 0.0)
