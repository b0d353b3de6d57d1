"""Scores in MusicXML and ABC, written here as text."""

import io
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.data.readers.note_grid import QuantizationStats, UnreadablePiece
from common.data.readers.sheet_music import MOST_BYTES, count_musicxml_parts, read_abc, read_musicxml

DOCTYPE = '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 3.1 Partwise//EN" "http://0.0.0.0/partwise.dtd">'


def xml(*voices, before=DOCTYPE):
    """A score of parts, each a list of the contents of its measures; a quarter note is of 4 divisions."""
    listed = "".join(f'<score-part id="P{n}"><part-name>{n}</part-name></score-part>' for n in range(len(voices)))
    held = ""
    for n, measures in enumerate(voices):
        inside = "".join(f'<measure number="{m}">{content}</measure>' for m, content in enumerate(measures, 1))
        held += f'<part id="P{n}">{inside}</part>'
    head = f'<?xml version="1.0" encoding="UTF-8"?>{before}<score-partwise version="3.1">'
    return f"{head}<part-list>{listed}</part-list>{held}</score-partwise>".encode()


def signs(beats=4, kind=4, key="", more=""):
    meter = f"<time><beats>{beats}</beats><beat-type>{kind}</beat-type></time>" if beats else ""
    return f"<attributes><divisions>4</divisions>{key}{meter}{more}</attributes>"


def note(name, duration, before="", after=""):
    """A note such as "C4" or "F#3", or a rest "r"."""
    alter = f"<alter>{name.count('#') - name.count('b')}</alter>"
    pitch = "<rest/>" if name == "r" else f"<pitch><step>{name[0]}</step>{alter}<octave>{name[-1]}</octave></pitch>"
    return f"<note>{before}{pitch}<duration>{duration}</duration>{after}</note>"


def key(fifths, mode=""):
    return f"<key><fifths>{fifths}</fifths>{f'<mode>{mode}</mode>' if mode else ''}</key>"


START, STOP = '<tie type="start"/>', '<tie type="stop"/>'
WHOLE = signs() + note("C4", 16)


def rows(data, steps_per_beat=4):
    return read_musicxml(data, steps_per_beat)[0]["events"].tolist()


def test_notes_rests_and_chords_of_all_parts_and_voices():
    upper = signs() + note("C5", 4) + note("E5", 4, "<chord/>") + note("r", 4) + note("F#5", 8)
    # A second voice in the lower part, after going back to the start of the measure.
    lower = signs() + note("C3", 16) + "<backup><duration>16</duration></backup>" + note("r", 8) + note("Bb3", 8)
    found, told = read_musicxml(xml([upper], [lower]), 4)
    assert found["events"].tolist() == [[0, 4, 76], [0, 4, 72], [0, 16, 48], [8, 8, 78], [8, 8, 58]]
    assert (found["steps"], found["bar"], found["key"]) == (16, 16, 0)
    assert told == QuantizationStats(notes=5)


def test_tied_notes_are_one_also_across_bars():
    first = signs() + note("C4", 12) + note("E4", 4, after=START) + note("G4", 4, "<chord/>")
    second = note("E4", 16, after=STOP + START) + note("G4", 16, "<chord/>")
    third = note("E4", 4, after=STOP) + note("E4", 4) + note("r", 8)
    assert rows(xml([first, second, third])) == [
        [0, 12, 60],
        [12, 4, 67],
        [12, 24, 64],
        [16, 16, 67],
        [36, 4, 64],
    ]


def test_grace_notes_and_chord_symbols_are_no_notes():
    grace = "<note><grace/><pitch><step>D</step><octave>5</octave></pitch></note>"
    symbol = "<harmony><root><root-step>G</root-step></root><kind>dominant</kind></harmony>"
    assert rows(xml([signs() + symbol + grace + note("C5", 16)])) == [[0, 16, 72]]


def test_notes_without_a_pitch_are_counted_as_drums():
    beat = "<note><unpitched><display-step>E</display-step><display-octave>4</display-octave></unpitched>"
    found, told = read_musicxml(xml([signs() + beat + "<duration>8</duration></note>" + note("C4", 8)]), 4)
    assert (found["events"].tolist(), told.drums) == ([[8, 8, 60]], 1)


def test_a_pickup_begins_with_empty_steps():
    found, _ = read_musicxml(xml([signs(3) + note("G4", 4), note("C5", 12), note("E5", 8)]), 4)
    assert found["events"].tolist() == [[8, 4, 67], [12, 12, 72], [24, 8, 76]]
    assert (found["steps"], found["bar"]) == (32, 12)
    assert rows(xml([signs(3) + note("G4", 4)])) == [[0, 4, 67]]  # one bar alone is no pickup


def test_parts_are_together_though_one_stops_in_the_first_bar():
    upper = [signs(3) + note("G4", 4), note("C5", 12)]
    assert rows(xml(upper, [signs(3) + note("r", 4), note("C3", 12)])) == [[8, 4, 67], [12, 12, 72], [12, 12, 48]]
    assert rows(xml(upper, [signs(3) + note("E3", 12), note("C3", 12)])) == [
        [0, 4, 67],
        [0, 12, 52],
        [12, 12, 72],
        [12, 12, 48],
    ]


def test_repeats_are_played_once():
    end = '<barline location="right"><repeat direction="backward"/></barline>'
    found, _ = read_musicxml(xml([signs() + note("C4", 16) + end, note("D4", 16)]), 4)
    assert (found["events"].tolist(), found["steps"]) == ([[0, 16, 60], [16, 16, 62]], 32)


def test_transposing_instruments_give_what_sounds():
    moved = "<transpose><diatonic>-1</diatonic><chromatic>-2</chromatic></transpose>"
    assert rows(xml([signs(more=moved) + note("D4", 16)], [signs() + note("E4", 16)])) == [[0, 16, 64], [0, 16, 60]]


@pytest.mark.parametrize(
    ("sign", "last", "expected"),
    [
        (key(0, "major"), "A3", 1),
        (key(-3, "minor"), "E3", 13),
        (key(0, "dorian"), "D3", 0),
        (key(2), "D3", 3),
        (key(2), "B2", 24),
        (key(2), "G3", 0),
        (key(-1), "D3", 15),
        ("", "C3", 0),
    ],
)
def test_the_key_is_told_by_its_mode_or_by_the_last_bass_note(sign, last, expected):
    data = xml([signs(key=sign) + note("G2", 8) + note(last, 8) + note("F#5", 8, "<chord/>")])
    assert read_musicxml(data, 4)[0]["key"] == expected


def test_notes_beside_the_grid_are_moved():
    triplet = "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes></time-modification>"
    thirds = signs().replace("<divisions>4", "<divisions>3") + "".join(
        note(name, 1, after=triplet) for name in ("C4", "D4", "E4")
    )
    data = xml([thirds + note("F4", 9)])
    assert rows(data, 3) == [[0, 1, 60], [1, 1, 62], [2, 1, 64], [3, 9, 65]]
    found, told = read_musicxml(data, 4)
    assert found["events"].tolist() == [[0, 1, 60], [1, 2, 62], [3, 1, 64], [4, 12, 65]]
    assert told == QuantizationStats(notes=4, moved=3)


def test_ties_join_thirds_of_a_beat():
    triplet = "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes></time-modification>"
    signed = signs().replace("<divisions>4", "<divisions>6")
    tied = note("D4", 4, after=START + triplet) + note("D4", 1, after=STOP + triplet) + note("E4", 1, after=triplet)
    assert rows(xml([signed + tied + note("F4", 18)]), 6) == [[0, 5, 62], [5, 1, 64], [6, 18, 65]]


def packed(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr({"container": "META-INF/container.xml"}.get(name, f"{name}.xml"), content)
    return buffer.getvalue()


CONTAINER = '<container><rootfiles><rootfile full-path="second.xml"/></rootfiles></container>'


def test_packed_scores_are_found_by_their_container_or_by_name():
    two = {"first": xml([signs() + note("C4", 16)]), "second": xml([signs() + note("D4", 16)])}
    assert rows(packed(container=CONTAINER, **two)) == [[0, 16, 62]]
    namespaced = CONTAINER.replace("<container>", '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">')
    assert rows(packed(container=namespaced, **two)) == [[0, 16, 62]]
    assert rows(packed(**two)) == [[0, 16, 60]]
    assert count_musicxml_parts(packed(**two)) == 1


def test_a_path_gives_its_name_and_another_encoding_is_read(tmp_path):
    path = tmp_path / "tune.musicxml"
    path.write_bytes(xml([WHOLE]).decode().replace("UTF-8", "UTF-16").encode("utf-16"))
    assert read_musicxml(path, 4)[0]["file"] == "tune.musicxml"


SWELLING = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "a"}">' for n in range(9))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", r"^is empty$"),
        (b"<score", r"^is not well-formed XML \("),
        (b"<html></html>", r"^is no MusicXML with the root <score-partwise>, for its root is <html>$"),
        (b"<score-timewise/>", r"for its root is <score-timewise>$"),
        (xml([WHOLE], before=f"<!DOCTYPE a [{SWELLING}]>"), r"^declares entities, which could fill the memory"),
        (xml([WHOLE], before='<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'), r"^declares entities"),
        (xml([WHOLE]).replace(b"UTF-8", b"nonesuch"), r"^cannot be read as XML \(unknown encoding"),
        (xml([signs() + note("r", 16)]), r"^holds no notes$"),
        (xml([signs() + note("C4", "soon")]), r"^cannot be read as MusicXML \("),
        (xml([signs() + note("C4", 16_000_000)]), r"^is 16,000,000 steps long, where at most 1,000,000 can be used$"),
        (xml([signs() + note("C19", 16).replace("<octave>9", "<octave>19")]), r"^has a pitch of 240"),
        (xml([signs(10**9) + note("C4", 16)]), r"^has a time signature of too many beats \(1000000000\)$"),
        (packed(readme="<html/>"), r"^is no MusicXML"),
        (packed(), r"^is no MusicXML|^is not well-formed|^is an archive without a score in it$"),
        (packed(a=xml([WHOLE]))[:-10], r"^is a damaged archive \("),
        (packed(a=b" " * (MOST_BYTES + 1)), r"^unpacks to over 67,108,864 bytes$"),
    ],
)
def test_what_cannot_be_used_is_the_rest_of_a_sentence(data, told):
    with pytest.raises(UnreadablePiece, match=told):
        read_musicxml(data, 4)


def test_nothing_is_printed(capfd):
    read_musicxml(xml([signs() + note("C4", 16), note("D4", 16)]), 4)
    list(read_abc(b"X:1\nK:C\nCDEF|\n", 4))
    assert capfd.readouterr() == ("", "")


GOOD = xml([signs(3, key=key(1)) + note("G4", 4, after=START), note("G4", 8, after=STOP) + note("B4", 4)], [WHOLE])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.sampled_from(b'0123456789-.ACG</>" x')), max_size=4))
def test_damaged_scores_are_read_or_refused(changes):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    try:
        found, told = read_musicxml(bytes(data), 4)
    except UnreadablePiece as error:
        assert str(error)
    else:
        assert told.notes == len(found["events"]) > 0


# ABC


def test_abc_is_read_with_its_bar_and_key():
    (found,) = read_abc(b"X:1\nT:A tune\nM:3/4\nL:1/4\nK:G\nG A B | c2 z | [GBd]3 |]\n", 4)
    assert found.location == ""
    assert found.piece["events"].tolist() == [
        [0, 4, 67],
        [4, 4, 69],
        [8, 4, 71],
        [12, 8, 72],
        [24, 12, 74],
        [24, 12, 71],
        [24, 12, 67],
    ]
    assert (found.piece["steps"], found.piece["bar"], found.piece["key"]) == (36, 12, 8)


def test_a_pickup_in_abc_begins_with_empty_steps():
    (found,) = read_abc(b"X:1\nM:4/4\nL:1/4\nK:Am\nE | A B c d | e4 |]\n", 4)
    assert found.piece["events"].tolist()[:2] == [[12, 4, 64], [16, 4, 69]]
    assert found.piece["key"] == 22


def test_several_tunes_are_several_pieces_and_a_broken_one_is_told():
    head = "%abc-2.1\nL:1/4\n\n"
    text = head + "X:1\nM:4/4\nK:C\nC D E F |\n\nX:2\nM:4/4\nK:C\n\nX:7\nM:4/4\nL:1/8\nK:D\nF2 G2 |\n"
    found = list(read_abc(text.replace("\n", "\r\n").encode(), 4))
    assert [one.location for one in found] == ["tune 1", "tune 2", "tune 3"]
    assert found[0].piece["events"].tolist() == [[0, 4, 60], [4, 4, 62], [8, 4, 64], [12, 4, 65]]
    assert found[1].wrong == "holds no notes"
    assert found[2].piece["events"].tolist() == [[0, 4, 66], [4, 4, 67]]


def test_abc_without_a_length_of_notes_has_eighths():
    (found,) = read_abc(b"X:1\nK:C\nC D|\n", 4)
    assert found.piece["events"].tolist() == [[0, 2, 60], [2, 2, 62]]


def test_abc_of_endless_bars_is_refused():
    (found,) = read_abc(b"X:1\nM: 99999999/4\nK:C\nC D|\n", 4)
    assert found.wrong == "has a time signature of too many beats (99999999/4)"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", r"^is empty$"),
        (b"Dear diary", r'^is no ABC \(it has no line that begins with "X:"\)$'),
        (b"X:1\nK:C\n\0", r"^is no ABC but binary data$"),
    ],
)
def test_what_is_no_abc_is_one_reason(data, told):
    with pytest.raises(UnreadablePiece, match=told):
        list(read_abc(data, 4))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.sampled_from("ABCabcz[]|:()/0123456789^_=,'>-~{}\"!\n KLMX%"), max_size=40))
def test_any_abc_is_read_or_refused(body):
    try:
        for found in read_abc(f"X:1\nL:1/4\nK:C\n{body}\n".encode(), 4):
            assert (found.piece is None) == bool(found.wrong)
    except UnreadablePiece:
        pass


def test_a_chorale_of_the_corpus_is_read_as_it_is_printed():
    from importlib.util import find_spec
    from pathlib import Path

    path = Path(find_spec("music21").submodule_search_locations[0], "corpus", "bach", "bwv66.6.mxl")
    if not path.is_file():
        pytest.skip("music21 has no corpus")
    found, told = read_musicxml(path, 4)
    # A pickup of one beat, in which tenor and bass begin on one A; F sharp minor, 4/4; the last bar has three beats.
    assert found["events"][:6].tolist() == [
        [12, 2, 73],
        [12, 4, 64],
        [12, 2, 57],
        [14, 2, 71],
        [14, 2, 59],
        [14, 2, 56],
    ]
    assert (found["bar"], found["key"], found["steps"]) == (16, 19, 9 * 16 + 12)
    assert count_musicxml_parts(path) == 4
    assert told.moved == 0
