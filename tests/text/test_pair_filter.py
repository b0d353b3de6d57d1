"""Which pairs are worth learning from, and what must stand in a translation as it does in the source."""

import pytest

from common.data.example_filters import filter_examples
from common.row_errors import RowErrors
from common.text.pair_filter import PairFilter, diff_placeholders, find_placeholders, script_fraction
from common.training.encoded_dataset import format_row_errors
from common.types import ExampleSource


def filtered(pairs):
    return filter_examples(pairs, lambda pair: PairFilter().rejection_reason(pair["source"], pair["target"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%s of %d, %5.2f and %(name)s: %(count)d", ["%s", "%d", "%5.2f", "%(name)s", "%(count)d"]),
        ("%1$s wrote %2$d", ["%1$s", "%2$d"]),
        ("%d%%, 100%% sure", ["%d"]),
        ("100% sicher, 100%ig, 5%-ige", []),
        ("%lu of %zd, %i", ["%lu", "%zd", "%i"]),
        ("{} {0} {name} {a.b} {c[0]}", ["{}", "{0}", "{name}", "{a.b}", "{c[0]}"]),
        ("{x!r:>10} of {price:.2f}", ["{x!r:>10}", "{price:.2f}"]),
        ("{{name}} and {{ count }}", ["{{name}}", "{{ count }}"]),
        ("{not this one} { }", []),
        ('<a href="x">link</a><br/> <b>', ['<a href="x">', "</a>", "<br/>", "<b>"]),
        ("a < b > c, <me@example.org>, i<3", []),
        ("<0>first</0>", ["<0>", "</0>"]),
        ("https://example.org/a%20d%20s?x=%2F", []),
        ("https://{host}/%s", ["{host}", "%s"]),
        ("<a>http://x</a>", ["<a>", "</a>"]),
        ("", []),
    ],
)
def test_placeholders_are_found(text, expected):
    assert find_placeholders(text) == expected


def test_placeholder_errors_count_each_but_not_their_order():
    assert diff_placeholders("%s %s <b>{0}</b>", "<b>{0}</b> %s %s") == ([], [])
    assert diff_placeholders("%s %s", "%s {0}") == (["%s"], ["{0}"])


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        ("Grüße", "de", 1.0),
        ("Жук abc", "ru_RU", 0.5),
        ("Жук abc", "sr", 1.0),  # written in both
        ("Жук abc", "sr_Latn", 0.5),
        ("日本のテレビ", "ja", 1.0),
        ("日本のテレビ", "zh", 2 / 6),  # the others are kana
        ("123 !?", "ru", 1.0),
        ("%(name)s {count} <b>Имя</b> https://example.org", "ru", 1.0),
        ("anything", "xx", 1.0),
        ("anything", None, 1.0),
    ],
)
def test_script_share_is_that_of_letters(text, language, share):
    assert script_fraction(text, language) == pytest.approx(share)


@pytest.mark.parametrize(
    ("source", "target", "which", "why"),
    [
        ("Yes", "Ja", PairFilter(), ""),
        (" ", "Ja", PairFilter(), "with an empty side"),
        ("Yes", "", PairFilter(), "with an empty side"),
        ("Yes ", " Yes", PairFilter(), "with two equal sides"),
        ("a" * 11, "b", PairFilter(max_chars=10), "with a side of over 10 characters"),
        ("a" * 10, "b" * 10, PairFilter(max_chars=10), ""),
        ("a" * 10, "b" * 100, PairFilter(max_length_ratio=4, smoothing=20), ""),  # 120 / 30 is not over 4
        (
            "a" * 10,
            "b" * 101,
            PairFilter(max_length_ratio=4, smoothing=20),
            "with one side over 4 times as long as the other",
        ),
        ("a", "b" * 8, PairFilter(max_length_ratio=2, smoothing=20), ""),
        ("Yes", "Да", PairFilter(languages=("en", "ru")), ""),
        ("Yes", "Yes, sir", PairFilter(languages=("en", "ru")), "with a side that is not in the script of ru"),
        ("Да", "Ja", PairFilter(languages=("en", "de")), "with a side that is not in the script of en"),
        ("Да", "Ja", PairFilter(languages=(None, "de")), ""),
        ("1", "2", PairFilter(languages=("en", "ru")), ""),
    ],
)
def test_pairs_are_left_out_with_a_reason(source, target, which, why):
    assert which.rejection_reason(source, target) == why


def test_a_filtered_source_counts_what_it_leaves_out_in_each_pass():
    pairs = [("Yes", "Ja"), ("a", "a"), ("b", "b"), ("", "x"), ("No", "Nein")]
    row_errors = RowErrors(strict=True)  # a pair that is left out is none that is broken
    plain = ExampleSource("some", lambda: iter([{"source": a, "target": b} for a, b in pairs]), row_errors)
    source = filtered(plain)
    for _ in range(2):
        assert [pair["target"] for pair in source] == ["Ja", "Nein"]
        assert source.row_errors.filtered_summary() == "2 with two equal sides, 1 with an empty side"
    assert (source.name, source.row_errors.count) == ("some", 0)


def test_what_is_left_out_is_told_before_training():
    plain = ExampleSource("some", lambda: iter([{"source": "a", "target": "a"}] * 1_200))
    source = filtered(plain)
    assert format_row_errors(source) == []
    assert list(source) == []
    assert format_row_errors(source) == ["Left out of some: 1,200 with two equal sides"]
