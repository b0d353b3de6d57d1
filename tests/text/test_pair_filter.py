"""Which pairs are worth learning from, and what must stand in a translation as it does in the source."""

import pytest

from common.data.splitting import filter_examples
from common.row_errors import Problems
from common.text.pair_filter import Filter, placeholder_errors, placeholders, script_share
from common.training.encoded_dataset import problem_lines
from common.types import Source


def filtered(pairs):
    return filter_examples(pairs, lambda pair: Filter().fault(pair["source"], pair["target"]))


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
)  # fmt: skip
def test_placeholders_are_found(text, expected):
    assert placeholders(text) == expected


def test_placeholder_errors_count_each_but_not_their_order():
    assert placeholder_errors("%s %s <b>{0}</b>", "<b>{0}</b> %s %s") == ([], [])
    assert placeholder_errors("%s %s", "%s {0}") == (["%s"], ["{0}"])


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
    assert script_share(text, language) == pytest.approx(share)


@pytest.mark.parametrize(
    ("source", "target", "which", "why"),
    [
        ("Yes", "Ja", Filter(), ""),
        (" ", "Ja", Filter(), "with an empty side"),
        ("Yes", "", Filter(), "with an empty side"),
        ("Yes ", " Yes", Filter(), "with two equal sides"),
        ("a" * 11, "b", Filter(longest=10), "with a side of over 10 characters"),
        ("a" * 10, "b" * 10, Filter(longest=10), ""),
        ("a" * 10, "b" * 100, Filter(ratio=4, smoothing=20), ""),  # 120 / 30 is not over 4
        ("a" * 10, "b" * 101, Filter(ratio=4, smoothing=20), "with one side over 4 times as long as the other"),
        ("a", "b" * 8, Filter(ratio=2, smoothing=20), ""),
        ("Yes", "Да", Filter(languages=("en", "ru")), ""),
        ("Yes", "Yes, sir", Filter(languages=("en", "ru")), "with a side that is not in the script of ru"),
        ("Да", "Ja", Filter(languages=("en", "de")), "with a side that is not in the script of en"),
        ("Да", "Ja", Filter(languages=(None, "de")), ""),
        ("1", "2", Filter(languages=("en", "ru")), ""),
    ],
)
def test_pairs_are_left_out_with_a_reason(source, target, which, why):
    assert which.fault(source, target) == why


def test_a_filtered_source_counts_what_it_leaves_out_in_each_pass():
    pairs = [("Yes", "Ja"), ("a", "a"), ("b", "b"), ("", "x"), ("No", "Nein")]
    problems = Problems(strict=True)  # a pair that is left out is none that is broken
    plain = Source("some", lambda: iter([{"source": a, "target": b} for a, b in pairs]), problems)
    source = filtered(plain)
    for _ in range(2):
        assert [pair["target"] for pair in source] == ["Ja", "Nein"]
        assert source.problems.left_out() == "2 with two equal sides, 1 with an empty side"
    assert (source.name, source.problems.count) == ("some", 0)


def test_what_is_left_out_is_told_before_training():
    plain = Source("some", lambda: iter([{"source": "a", "target": "a"}] * 1_200))
    source = filtered(plain)
    assert problem_lines(source) == []
    assert list(source) == []
    assert problem_lines(source) == ["Left out of some: 1,200 with two equal sides"]
