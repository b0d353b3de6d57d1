"""The sentiment network's own layers against plain Python."""

import math
from collections import Counter

import numpy as np
import tensorflow as tf

from common.modeling.layers.affixes import AffixEmbedding
from recipes.sentiment.layers import TrimMiddle, WideBagOfWords, WordDropout, hash_bigrams, unique_ids


def test_bigrams_end_before_the_padding():
    found = hash_bigrams(np.array([[5, 7, 9, 0], [5, 7, 0, 0]]), 1000).numpy()
    assert found[0, 0] == found[1, 0] > 0
    assert (found[0] > 0).tolist() == [True, True, False]
    assert (found[1] > 0).tolist() == [True, False, False]
    assert found.max() <= 1000


def test_pairs_with_an_unknown_word_are_the_same_when_words_are_added():
    before, after = WideBagOfWords(6, 2, 500, 0, 4), WideBagOfWords(9, 2, 500, 0, 4)
    for layer in (before, after):
        layer.build(None, None)
    rows = np.random.default_rng(0).normal(size=[501, 2])
    before.pair_rows.assign(rows), after.pair_rows.assign(rows)
    lengths = tf.constant([4])
    found = before(tf.constant([[2, 5, 3, 5]]), lengths)  # 5, then 8, is the unknown word
    np.testing.assert_array_equal(found, after(tf.constant([[2, 8, 3, 8]]), lengths))
    assert (found.numpy() != before(tf.constant([[2, 4, 3, 4]]), lengths).numpy()).any()


def test_once_keeps_each_id_of_a_row_once():
    assert unique_ids(tf.constant([[3, 5, 3, 0], [2, 2, 2, 2]])).numpy().tolist() == [[5, 3, 0, 0], [2, 0, 0, 0]]


def test_ends_leaves_out_the_middle_of_long_rows_only():
    rows = tf.constant([[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 0, 0, 0, 0]])
    assert TrimMiddle(4)(rows, tf.constant([7, 3])).numpy().tolist() == [[1, 2, 6, 7], [1, 2, 3, 0]]
    assert TrimMiddle(9)(rows, tf.constant([7, 3])).numpy().tolist() == rows.numpy().tolist()


def test_wide_words_begin_as_naive_bayes():
    texts, labels = [[2, 3, 3], [2, 4], [4, 4]], [0, 1, 1]
    layer = WideBagOfWords(num_words=6, num_labels=2, bigram_buckets=50, dropout=0.5, lr_multiplier=4)
    layer.build(None, None)
    held = layer.init_naive_bayes([(np.array([[2, 3, 3], [2, 4, 0], [4, 4, 0]]), np.array(labels))], scale=0.5)
    assert held["word_rows"].tolist() == [0, 0, 2, 1, 2, 0]  # texts; those of pairs are (2, 3), (3, 3), (2, 4), (4, 4)
    assert sorted(held["pair_rows"][held["pair_rows"] > 0].tolist()) == [1, 1, 1, 1]
    counts = [Counter(), Counter()]
    for text, label in zip(texts, labels, strict=True):
        counts[label].update(set(text))  # once a text
    mean = (counts[0].total() + counts[1].total()) / 2
    for word in (2, 3, 4):
        logs = [math.log(counts[label][word] / (counts[label].total() / mean) + 1) for label in (0, 1)]
        expected = [0.5 * (value - sum(logs) / 2) for value in logs]
        np.testing.assert_allclose(
            4 * layer.word_rows.numpy()[word], expected, atol=1e-6
        )  # stored divided by the multiplier
    assert not layer.word_rows.numpy()[[0, 1, 5]].any()  # padding and words never seen
    difference = layer.bias.numpy()[1] - layer.bias.numpy()[0]
    np.testing.assert_allclose(difference, math.log(2), rtol=1e-6)  # twice as many texts


def test_wide_words_begin_alike_however_texts_are_batched():
    random = np.random.default_rng(1)
    tokens, labels = random.integers(1, 30, [40, 9]), random.integers(-1, 3, 40)
    rows = []
    for size in (40, 7):
        layer = WideBagOfWords(num_words=30, num_labels=3, bigram_buckets=100, dropout=0, lr_multiplier=4)
        layer.build(None, None)
        layer.init_naive_bayes([(tokens[i : i + size], labels[i : i + size]) for i in range(0, 40, size)], scale=1.0)
        rows.append((layer.word_rows.numpy(), layer.pair_rows.numpy()))
    np.testing.assert_array_equal(rows[0][0], rows[1][0])
    np.testing.assert_array_equal(rows[0][1], rows[1][1])


def test_wide_words_sum_once_each_over_the_root_of_the_length():
    layer = WideBagOfWords(num_words=6, num_labels=2, bigram_buckets=50, dropout=0, lr_multiplier=4)
    layer.build(None, None)
    layer.word_rows.assign(np.arange(12.0).reshape(6, 2))
    found = layer(tf.constant([[2, 3, 0, 0], [5, 5, 5, 5]]), tf.constant([2, 4])).numpy()
    expected = 4 * np.array([[10 / math.sqrt(2), 12 / math.sqrt(2)], [10 / 2, 11 / 2]])  # a repeated word counts once
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_affix_vectors_are_summed_over_the_root_of_their_number():
    layer = AffixEmbedding(buckets=9, units=3)
    rows = np.random.default_rng(0).normal(size=[10, 3]).astype(np.float32)
    layer(tf.zeros([1, 1, 2], tf.uint16))
    layer.rows.embeddings.assign(rows)
    found = layer(tf.constant([[[4, 7], [5, 0], [0, 0]]], tf.uint16)).numpy()[0]
    np.testing.assert_allclose(found, [(rows[4] + rows[7]) / math.sqrt(2), rows[5], [0, 0, 0]], rtol=1e-6)


def test_word_dropout_makes_unknown_words_in_training_only():
    layer = WordDropout(0.5, unknown=9)
    tokens = tf.constant([[3] * 200 + [0] * 200])
    assert (layer(tokens).numpy() == tokens.numpy()).all()
    dropped = layer(tokens, training=True).numpy()[0]
    assert set(dropped[:200]) == {3, 9}
    assert 60 < (dropped == 9).sum() < 140
    assert not dropped[200:].any()
