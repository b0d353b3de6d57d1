"""Schemes of tags, the entities that tags mark, and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from common.text.tag_schemes import (
    IOB2,
    Scheme,
    SchemeDetector,
    find_illegal_tags,
    spans_to_bioes,
    spans_to_iob2,
    split_long_sentence,
    tags_to_spans,
)

SPANS = [(0, 1, "A"), (1, 3, "A"), (3, 4, "B"), (5, 8, "B")]  # of nine tokens


def scheme_of(*sentences):
    tally = SchemeDetector()
    for tags in sentences:
        tally.add(tags.split())
    return tally.detect()


@pytest.mark.parametrize(
    ("sentences", "name", "form"),
    [
        (["B-PER I-PER O B-LOC B-LOC"], "IOB2", "prefixed"),
        (["I-PER I-PER O I-LOC"], "IO", "prefixed"),
        (["I-PER I-PER O I-LOC", "I-LOC B-LOC I-LOC I-PER"], "IOB1", "prefixed"),
        (["B-PER E-PER O S-LOC", "B-PER I-PER E-PER"], "BIOES", "prefixed"),
        (["B-PER L-PER O U-LOC", "B-PER I-PER L-PER"], "BILOU", "prefixed"),
        (["B-PER M-PER E-PER O W-LOC"], "BIOES", "prefixed"),
        (["I-PER E-PER O E-LOC E-LOC"], "IOE", "prefixed"),
        (["O O", "O"], "IOB2", "prefixed"),
        ([], "IOB2", "prefixed"),
        (["AddressNumber StreetName StreetName", "Recipient"], "IO", "bare"),
        (["LOC O PER", "E-mail"], "IO", "bare"),
        (["B I O", "O B"], "IOB2", "letters"),
        (["I I O", "I B O"], "IOB1", "letters"),
        (["B E O", "S O"], "BIOES", "letters"),
        (["b-per i-per o"], "IOB2", "prefixed"),
        (["B-PER _ _"], "IOB2", "prefixed"),
    ],
)
def test_scheme_is_that_of_the_whole_file(sentences, name, form):
    assert scheme_of(*sentences) == Scheme(name, form)


def test_few_illegal_tags_do_not_change_the_scheme():
    assert scheme_of(*["B-PER I-PER O"] * 9, *["I-PER O"] * 3).name == "IOB2"
    assert scheme_of(*["I-PER I-PER O"] * 9, "I-PER B-PER", *["B-PER O"] * 3).name == "IOB1"
    assert scheme_of(*["B-PER E-PER O S-LOC"] * 9, *["B-PER O", "I-PER O"]).name == "BIOES"
    assert scheme_of(*["B-PER I-PER O"] * 9, "S-PER O B-PER I-PER").name == "IOB2"
    assert scheme_of(*["B-PER I-PER O"] * 9, "PER O").style == "prefixed"


@pytest.mark.parametrize(
    ("scheme", "tags", "spans"),
    [
        (IOB2, "B-A B-A I-A B-B O B-B I-B I-B O", SPANS),
        (Scheme("IOB1"), "I-A B-A I-A I-B O I-B I-B I-B O", SPANS),
        (Scheme("BIOES"), "S-A B-A E-A S-B O B-B I-B E-B O", SPANS),
        (Scheme("BILOU"), "U-A B-A L-A U-B O B-B I-B L-B O", SPANS),
        (Scheme("BIOES"), "W-A B-A E-A W-B O B-B M-B E-B O", SPANS),
        (Scheme("IOE"), "E-A I-A I-A I-B O I-B I-B I-B O", SPANS),
        (Scheme("IO", "bare"), "A A A B O B B B O", [(0, 3, "A"), (3, 4, "B"), (5, 8, "B")]),
        (IOB2, "I-A I-A O I-B", [(0, 2, "A"), (3, 4, "B")]),
        (Scheme("BIOES"), "E-A I-A B-A S-A I-A", [(0, 1, "A"), (1, 2, "A"), (2, 3, "A"), (3, 4, "A"), (4, 5, "A")]),
        (IOB2, "B-creative-work I-creative-work", [(0, 2, "creative-work")]),
        (IOB2, "b-per i-per o _", [(0, 2, "per")]),
        (Scheme("IOB2", "letters"), "B I O B", [(0, 2, "entity"), (3, 4, "entity")]),
    ],
)
def test_entities_in_every_scheme(scheme, tags, spans):
    assert tags_to_spans(tags.split(), scheme) == spans
    assert tags_to_spans([], scheme) == []


def test_types_may_hold_blanks_and_underscores():
    assert tags_to_spans(["B-work of art", "I-work of art", "B-a_b", "I-a_c"]) == [
        (0, 2, "work of art"),
        (2, 3, "a_b"),
        (3, 4, "a_c"),
    ]


@pytest.mark.parametrize("tag", ["NNP", "", "B-", "B- ", "X-PER", "BPER"])
def test_what_is_no_tag_is_told(tag):
    assert IOB2.first_invalid(["O", tag]) == 1
    with pytest.raises(ValueError, match=r"has the tag .* none of IOB2"):
        tags_to_spans(["O", tag])


@pytest.mark.parametrize(
    ("name", "tags", "told"),
    [
        ("IOB2", "O I-PER I-PER", [(1, "has I-PER after O, which IOB2 does not allow; taken as B-PER")]),
        ("IOB2", "I-PER", [(0, "has I-PER at the beginning, which IOB2 does not allow; taken as B-PER")]),
        ("IOB2", "B-LOC I-PER", [(1, "has I-PER after B-LOC, which IOB2 does not allow; taken as B-PER")]),
        ("IOB2", "B-LOC E-LOC", [(1, "has E-LOC after B-LOC, which IOB2 does not allow; taken as I-LOC")]),
        ("IOB1", "O B-PER", [(1, "has B-PER after O, which IOB1 does not allow; taken as it is")]),
        ("IOB1", "I-PER B-PER I-PER", []),
        ("IO", "I-PER B-PER", [(1, "has B-PER after I-PER, which IO does not allow; taken as it is")]),
        ("BIOES", "O I-PER E-PER", [(1, "has I-PER after O, which BIOES does not allow; taken as B-PER")]),
        ("BIOES", "B-PER O", [(0, "has B-PER before O, which BIOES does not allow; taken as the end of PER")]),
        ("BILOU", "B-PER", [(0, "has B-PER before the end, which BILOU does not allow; taken as the end of PER")]),
        ("BIOES", "B-PER E-PER S-LOC O", []),
    ],
)
def test_faults_are_told_in_words(name, tags, told):
    assert find_illegal_tags(tags.split(), Scheme(name)) == told


LEGAL = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["A", "B-C", "d e"])), max_size=8)


@st.composite
def sentences(draw):
    """Spans that do not overlap, and a length."""
    spans, at = [], 0
    for gap, length, type in draw(LEGAL):
        spans.append((at + gap, at + gap + length, type))
        at += gap + length
    return spans, at + draw(st.integers(0, 2))


@given(sentences())
def test_tags_of_entities_mark_them_again(sentence):
    spans, length = sentence
    for tags, name in ((spans_to_iob2(spans, length), "IOB2"), (spans_to_bioes(spans, length), "BIOES")):
        assert len(tags) == length
        assert tags_to_spans(tags, Scheme(name)) == spans
        assert find_illegal_tags(tags, Scheme(name)) == []
        assert spans_to_iob2(tags_to_spans(tags, Scheme(name)), length) == spans_to_iob2(spans, length)


@given(st.lists(sentences(), min_size=1, max_size=5))
def test_scheme_of_tags_that_were_made_is_found(made):
    written = {name: SchemeDetector() for name in ("IOB2", "BIOES")}
    for spans, length in made:
        written["IOB2"].add(spans_to_iob2(spans, length))
        written["BIOES"].add(spans_to_bioes(spans, length))
    marked = any(spans for spans, _ in made)
    assert written["IOB2"].detect() == IOB2
    assert written["BIOES"].detect().name == ("BIOES" if marked else "IOB2")


TAGS = {
    letters: st.lists(
        st.sampled_from(["O", *(f"{one}-{type}" for one in letters for type in ("A", "B-C"))]), max_size=9
    )
    for letters in ("BI", "BIES", "IE")
}


@pytest.mark.parametrize(("name", "letters"), [("IOB2", "BI"), ("IOB1", "BI"), ("BIOES", "BIES"), ("IOE", "IE")])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_entities_are_those_of_seqeval(name, letters, data):
    tags = data.draw(TAGS[letters])
    assert tags_to_spans(tags, Scheme(name)) == [(start, end + 1, type) for type, start, end in get_entities(tags)]


@given(st.lists(TAGS["BIES"], max_size=5))
def test_faults_counted_are_the_faults_told(lists):
    tally = SchemeDetector()
    for tags in lists:
        tally.add(tags)
    for name in ("IOB2", "IO", "IOB1", "BIOES", "IOE"):
        assert tally.count_illegal(Scheme(name)) == sum(len(find_illegal_tags(tags, Scheme(name))) for tags in lists)
    best = tally.count_illegal(tally.detect())
    assert all(best <= tally.count_illegal(Scheme(name)) for name in ("IOB2", "IO", "IOB1", "BIOES", "IOE"))


@given(sentences(), st.integers(1, 6))
def test_pieces_cut_no_entity_that_fits(sentence, most):
    spans, length = sentence
    cut = split_long_sentence(spans_to_iob2(spans, length), most)
    assert [start for start, _ in cut] == [0, *(end for _, end in cut[:-1])]
    assert cut[-1][1] == length
    assert all(end - start <= most for start, end in cut)
    inner = {end for _, end in cut[:-1]}
    assert not any(set(range(start + 1, end)) & inner for start, end, _ in spans if end - start <= most)
