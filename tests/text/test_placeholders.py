"""Placeholders as marks, and back."""

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text import placeholders
from common.text.pair_filter import find_placeholders as found

SPANS = ["%s", "%(name)s", "%1$s", "{0}", "{name}", "{{x}}", "<b>", "</b>", '<a href="x y">', "%%", "{}", "%d"]
TEXTS = st.lists(st.one_of(st.sampled_from(SPANS), st.text(max_size=6)), max_size=8).map("".join)


def mark(number):
    return chr(placeholders.FIRST + number)


@given(st.lists(TEXTS, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_whatever_is_marked_comes_back(texts):
    given_ = [text.encode("utf-8", "replace").decode() for text in texts]
    texts = [text for text in given_ if not any(mark(n) in text for n in range(placeholders.MARKS))]
    marked, kept = placeholders.mask_placeholders(tf.constant(texts, tf.string))
    back = placeholders.restore_placeholders(marked, kept).numpy().tolist()
    assert [one.decode() for one in back] == texts


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_all_that_is_counted_as_a_placeholder_is_marked(text):
    text = text.encode("utf-8", "replace").decode()
    _, kept = placeholders.mask_placeholders(tf.constant([text]))
    joined = "\x00".join(one.decode() for one in kept.to_list()[0])
    # Some are found a little longer or shorter than by Python's expressions, which can look around.
    assert all(one in joined or one.endswith("i") for one in found(text))


def test_equal_ones_share_a_mark_and_targets_take_those_of_their_source():
    marked, kept = placeholders.mask_placeholders(tf.constant(["%s and {a}, %s", "no", "{a}{b}"]))
    assert [one.decode() for one in marked.numpy()] == [
        f"{mark(0)} and {mark(1)}, {mark(0)}",
        "no",
        f"{mark(0)}{mark(1)}",
    ]
    targets = placeholders.mask_like(tf.constant(["{a} und %s", "%s", "{b}{a}{c}"]), kept)
    assert [one.decode() for one in targets.numpy()] == [f"{mark(1)} und {mark(0)}", "%s", f"{mark(1)}{mark(0)}{{c}}"]


def test_marks_of_which_nothing_is_known_stay():
    _, kept = placeholders.mask_placeholders(tf.constant(["{a}", ""]))
    texts = [f"x{mark(0)}{mark(1)}y", mark(3)]
    back = placeholders.restore_placeholders(tf.constant(texts), kept)
    assert [one.decode() for one in back.numpy()] == [f"x{{a}}{mark(1)}y", mark(3)]


def test_counts_are_those_of_each_mark():
    counted = placeholders.count_marks(tf.constant([f"{mark(0)} {mark(2)}{mark(0)}", "none"])).numpy()
    assert counted[0, :3].tolist() == [2, 0, 1] and counted[0].sum() == 3 and not counted[1].any()


def test_more_than_there_are_marks_for_stay_as_they_are():
    text = " ".join(f"{{n{number}}}" for number in range(placeholders.MARKS + 2))
    marked, kept = placeholders.mask_placeholders(tf.constant([text]))
    shown = marked.numpy()[0].decode()
    assert shown.endswith(f"{mark(placeholders.MARKS - 1)} {{n16}} {{n17}}")
    assert placeholders.restore_placeholders(marked, kept).numpy()[0].decode() == text


def test_no_texts_and_broken_bytes():
    marked, kept = placeholders.mask_placeholders(tf.zeros([0], tf.string))
    assert marked.shape == (0,) and placeholders.restore_placeholders(marked, kept).shape == (0,)
    marked, _ = placeholders.mask_placeholders(tf.constant([b"a\xff{0}\xff"]))
    assert marked.numpy()[0].decode() == f"a\ufffd{mark(0)}\ufffd"
