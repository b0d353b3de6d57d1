"""What a person names as music: files, folders, archives and public sets of them."""

import io
import json
import tarfile
import zipfile
from dataclasses import dataclass

import mido
import numpy as np
import pytest

from common.config import RunConfig
from common.data import splitting
from common.data.readers.music_sources import open_music_source
from common.data.readers.note_grid import hash_piece
from common.errors import ConfigError, DataError
from common.types import Field
from tests.helpers.cli_calls import prepared_by

FIELDS = (Field("events", "events"), Field("steps", "number"), Field("bar", "number"), Field("key", "number"))


@dataclass(frozen=True)
class Grid(RunConfig):
    steps_per_beat: int = 4


def open_pieces(spec, fields, config):
    return open_music_source(spec, fields, config, config.steps_per_beat)


def midi(*pitches, ticks=480, channel=0):
    """A file of these pitches, a beat each."""
    track = mido.MidiTrack()
    for pitch in pitches:
        track.append(mido.Message("note_on", note=pitch, channel=channel))
        track.append(mido.Message("note_off", note=pitch, channel=channel, time=ticks))
    buffer = io.BytesIO()
    mido.MidiFile(tracks=[track], ticks_per_beat=480).save(file=buffer)
    return buffer.getvalue()


ABC = b"X:1\nM:4/4\nL:1/4\nK:C\nCDEF|\n\nX:2\nM:4/4\nL:1/4\nK:G\nGABc|\n"
XML = (
    b'<score-partwise><part-list><score-part id="P"><part-name/></score-part></part-list><part id="P">'
    b'<measure number="1">'
    b"<attributes><divisions>1</divisions></attributes><note><pitch><step>A</step><octave>4</octave></pitch>"
    b"<duration>4</duration></note></measure></part></score-partwise>"
)


def write(folder, **files):
    """Writes files; in their names, "__" is a slash and "_" a point."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def read(spec, **settings):
    return open_pieces(str(spec), FIELDS, Grid(**settings))


def pitches(source):
    return [example["events"][:, 2].tolist() for example in source]


def test_a_file_of_each_kind_is_read(tmp_path):
    write(tmp_path, a_mid=midi(60), b_abc=ABC, c_xml=XML, d_json=[[[61]], [[62], [63]]], e_jsonl=[[64]], f=midi(65))
    found = {path.name: pitches(read(path).splits[""]) for path in sorted(tmp_path.iterdir())}
    assert found == {
        "a.mid": [[60]],
        "b.abc": [[60, 62, 64, 65], [67, 69, 71, 72]],
        "c.xml": [[69]],
        "d.json": [[61], [62, 63]],
        "e.jsonl": [[64]],
        "f": [[65]],
    }


def test_an_example_holds_all_that_a_piece_is(tmp_path):
    write(tmp_path, tunes_abc=ABC)
    source = read(tmp_path / "tunes.abc").splits[""]
    for _ in range(2):
        second = list(source)[1]
        assert second["events"].tolist() == [[0, 4, 67], [4, 4, 69], [8, 4, 71], [12, 4, 72]]
        assert {name: second[name] for name in second if name != "events"} == {
            "steps": 16,
            "bar": 16,
            "key": 8,
            "tempo": 0.0,
            "file": "tunes.abc tune 2",
        }


def test_a_folder_is_searched_and_what_gives_no_notes_is_listed(tmp_path):
    write(
        tmp_path,
        one_mid=midi(60, 62),
        sub__two_mid=midi(64, ticks=500),
        sub__deep__drums_mid=midi(36, channel=9),
        readme_txt=b"hello",
        broken_mid=b"MThd",
        x_pickle=b"\x80",
        y_mat=b"MATLAB",
        z_json={"train": [[[60]], [[200]]]},
        w_abc=b"diary",
    )
    (tmp_path / ".hidden.mid").write_bytes(midi(1))
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "one.mid").write_bytes(midi(1))
    (tmp_path / "z.json").write_text("[[[60]], [[200]]]")
    found = read(tmp_path)
    assert found.descriptions == (
        f"{tmp_path}: 9 files, 3 pieces, 4 notes, 1 of them moved to the grid of 4 steps a beat, 0 fell together",
    )
    source = found.splits[""]
    assert [example["file"] for example in source] == ["one.mid", "z.json piece 1", "sub/two.mid"]
    assert source.row_errors.first_errors() == [
        "broken.mid is a damaged MIDI file (it ends too early)",
        "readme.txt is no file of music (.mid, .midi, .musicxml, .xml, .mxl, .abc, .json, .jsonl)",
        'w.abc is no ABC (it has no line that begins with "X:")',
        "x.pickle is a Python pickle, which may run code when it is read: convert it to JSON, lists of frames of "
        "pitches",
        "y.mat is a MATLAB file: convert it to JSON, lists of frames of pitches",
        "z.json piece 2 has a pitch of 200 in frame 1, where 0 to 127 are pitches of MIDI",
        "sub/deep/drums.mid holds no notes but 1 of drums",
    ]
    with pytest.raises(DataError, match=r"broken\.mid is a damaged MIDI file .* leave out --strict"):
        read(tmp_path, strict=True)


@pytest.mark.parametrize("valid", ["valid", "Validation", "dev"])
def test_folders_of_parts_are_parts(tmp_path, valid):
    write(tmp_path, train__a_mid=midi(60), train__deep__b_mid=midi(62), test__c_mid=midi(64), notes_txt=b"x")
    write(tmp_path / valid, d_mid=midi(65))
    found = read(tmp_path)
    assert {part: pitches(source) for part, source in found.splits.items()} == {
        "train": [[60], [62]],
        "test": [[64]],
        "valid": [[65]],
    }
    splits = splitting.load_splits(Grid(data=(str(tmp_path),)), FIELDS, None, open_pieces)
    assert pitches(splits.test) == [[64]]
    # A piece beside them, and the folders are no parts.
    write(tmp_path, e_mid=midi(67))
    assert {part: len(pitches(source)) for part, source in read(tmp_path).splits.items()} == {"": 5}


def test_parts_in_json_are_parts(tmp_path):
    write(tmp_path, a_json={"train": [[[60]], [[61]]], "valid": [[[62]]], "test": [[[63], []]]})
    found = read(tmp_path / "a.json")
    assert {part: pitches(source) for part, source in found.splits.items()} == {
        "train": [[60], [61]],
        "valid": [[62]],
        "test": [[63]],
    }
    assert [example["steps"] for example in found.splits["test"]] == [2]
    write(tmp_path, b_mid=midi(60))
    with pytest.raises(DataError, match=r"holds pieces of parts \(train, valid, test\) and others of none"):
        read(tmp_path)


def test_archives_are_read_as_the_folders_that_they_hold(tmp_path):
    write(tmp_path / "in", train__a_mid=midi(60), test__b_mid=midi(62))
    zipped, tarred = tmp_path / "tunes.zip", tmp_path / "tunes.tar.gz"
    with zipfile.ZipFile(zipped, "w") as file:
        for path in (tmp_path / "in").rglob("*.mid"):
            file.write(path, path.relative_to(tmp_path))
    with tarfile.open(tarred, "w:gz") as file:
        file.add(tmp_path / "in", "in")
    for path in (zipped, tarred):
        assert {part: pitches(one) for part, one in read(path).splits.items()} == {"train": [[60]], "test": [[62]]}


def test_globs_and_commas_name_several(tmp_path):
    write(tmp_path, a_mid=midi(60), b_mid=midi(62), c_abc=ABC)
    assert pitches(read(tmp_path / "*.mid").splits[""]) == [[60], [62]]
    assert len(pitches(read(f"{tmp_path}/a.mid,{tmp_path}/c.abc").splits[""])) == 3


@pytest.mark.parametrize(
    ("files", "named", "told"),
    [
        (
            {"a_mid": b"junk"},
            "a.mid",
            r"a\.mid gives no piece of music \(a\.mid is no MIDI file \(it begins with 'junk'",
        ),
        ({"a_mid": midi(36, channel=9)}, "a.mid", r"\(a\.mid holds no notes but 1 of drums\): name other files\.$"),
        (
            {f"{n}_txt": b"" for n in "abcde"},
            "",
            r"gives no piece of music \(a\.txt .*; b\.txt .*; c\.txt .*; and 2 more\)",
        ),
        (
            {"a_pkl": b"x"},
            "a.pkl",
            r"a\.pkl is a Python pickle, which may run code when it is read: convert it to JSON",
        ),
        ({"a_mat": b"x"}, "a.mat", r"a\.mat is a MATLAB file: convert it to JSON"),
        ({"a_json": []}, "a.json", r"\(a\.json holds no pieces\)"),
        ({"in__.x": b""}, "in", r"in holds no files: name another folder, or a file\.$"),
        ({}, "nothing.mid", r"nothing\.mid does not exist"),
        ({}, "*.mid", r"No file matches"),
    ],
)
def test_where_no_piece_is_left_the_error_says_why(tmp_path, files, named, told):
    write(tmp_path, **files)
    with pytest.raises(DataError, match=told):
        read(tmp_path / named if named else tmp_path)


def test_columns_are_refused(tmp_path):
    write(tmp_path, a_mid=midi(60))
    with pytest.raises(ConfigError, match="--column says what columns hold, but files of music"):
        read(tmp_path / "a.mid", column=("events=x",))


def test_the_fingerprint_is_of_files_and_grid(tmp_path):
    write(tmp_path, a_mid=midi(60), b_mid=midi(62))
    first = read(tmp_path).fingerprint
    assert read(tmp_path).fingerprint == first
    assert read(tmp_path, steps_per_beat=8).fingerprint != first
    write(tmp_path, b_mid=midi(63))
    assert read(tmp_path).fingerprint != first


def test_copies_in_another_key_fall_into_one_part():
    random = np.random.default_rng(5)
    for _ in range(50):
        events = np.stack([np.arange(8), np.ones(8, int), random.integers(40, 80, 8)], axis=1).astype(np.int32)
        moved = events + np.array([0, 0, random.integers(-12, 12)], np.int32)
        assert splitting.hash_fraction({"events": events}, FIELDS) == splitting.hash_fraction({"events": moved}, FIELDS)
    shares = {splitting.hash_fraction({"events": events + np.array([n, 0, 0])}, FIELDS) for n in range(50)}
    assert len(shares) == 50


@pytest.mark.slow
def test_the_default_chorales_are_kept_and_do_not_repeat_each_other():
    pytest.importorskip("music21")
    from recipes.music.data import load_bach_chorales

    source, attribution = load_bach_chorales(4)
    first = list(source)
    assert attribution["package"] == "music21" and attribution["sha256"] == ""
    assert len(first) > 300
    assert len({hash_piece(one["events"]) for one in first}) == len(first)
    assert all(set(one) == {"events", "steps", "bar", "key", "file"} for one in first)
    assert {one["bar"] for one in first} <= {12, 16, 24}
    again = list(load_bach_chorales(4)[0])  # out of the cache
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one["events"], other["events"])
        assert [one[name] for name in ("steps", "bar", "key", "file")] == [
            other[name] for name in ("steps", "bar", "key", "file")
        ]
    assert set(source.row_errors.left) == {"of other than four parts", "that repeat another one"}


BUILDER = """
import sys
import tensorflow as tf
import tensorflow_datasets as tfds

class Tunes(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"id": tf.string, "midi": tf.string}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(60, 66), "test": self._generate_examples(66, 68)}

    def _generate_examples(self, first, last):
        for number in range(first, last):
            on, off = bytes([0, 0x90, number, 80]), bytes([96, 0x80, number, 0, 0, 255, 0x2F, 0])
            track = b"MTrk" + bytes([0, 0, 0, len(on + off)]) + on + off
            data = b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 0, 96]) + track
            yield number, {"id": str(number), "midi": data if number != 62 else b"junk"}

Tunes(data_dir=sys.argv[1]).download_and_prepare()
"""


@pytest.mark.slow
def test_public_sets_of_midi_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared_by(BUILDER, tmp_path)))
    found = read("tfds:tunes", offline=True)
    train, test = found.splits["train"], found.splits["test"]
    assert sorted(pitches(train)) == [[60], [61], [63], [64], [65]]
    assert sorted(pitches(test)) == [[66], [67]]
    assert train.row_errors.count == 1
    assert "is no MIDI file (it begins with 'junk', not MThd)" in train.row_errors.first_errors()[0]
    assert found.descriptions[1].startswith("tfds:tunes test: 2 files, 2 pieces, 2 notes")
