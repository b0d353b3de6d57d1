"""Inputs of `predict` out of files, before anything is predicted."""

import io
import json

import pytest

from common.errors import ConfigError, DataError
from common.inference.prediction_inputs import read_inputs
from common.types import Field
from tests.helpers.cli_calls import call, fails, good

INPUTS = (Field("text", "text"),)


def refuse(place, what):
    raise AssertionError((place, what))


@pytest.fixture
def inputs(tmp_path):
    """(texts, reports) of a file with such a name and content."""

    def read(name, content, encoding=None, column=()):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        told: list[str] = []
        found = read_inputs(
            str(tmp_path / name), INPUTS, column, encoding, lambda place, what: told.append(f"{place} {what}")
        )
        return [one["text"] for one in found], told

    return read


def test_a_file_holds_an_input_on_each_line(inputs):
    assert inputs("a.txt", "\ufeffone\r\n\n two\u2028still, two\t\n\ufeffthree") == (
        ["one", "", " two\u2028still, two\t", "\ufeffthree"],
        [],
    )


def test_an_empty_file_holds_no_input(inputs):
    assert inputs("a.txt", "") == ([], [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("given", [True, False])
def test_the_encoding_is_found_or_given(inputs, encoding, given):
    assert inputs("a.txt", "café\nfine\n".encode(encoding), encoding if given else None) == (["café", "fine"], [])


def test_lines_that_cannot_be_used_are_told(inputs):
    content = (
        b"one line of text\ncaf\xe9\na line of text with a NUL here: \0\nthe last line of this text, as long as that\n"
    )
    assert inputs("a.txt", content, "utf-8") == (
        ["one line of text", "the last line of this text, as long as that"],
        ["a.txt:2 is not valid utf-8", "a.txt:3 holds a NUL byte"],
    )


def test_rows_that_cannot_be_used_are_told(inputs):
    content = '{"text": "one"}\n{"text": "cut \\ud83d"}\n{"body": 1}\n'
    assert inputs("a.jsonl", content) == (
        ["one"],
        ["a.jsonl:2 holds half a character (a lone surrogate)", "a.jsonl:3 has no text"],
    )


def test_files_that_cannot_be_used_are_refused(inputs):
    with pytest.raises(DataError, match="is binary data"):
        inputs("a.txt", bytes(range(256)) * 9)
    with pytest.raises(ConfigError, match="--encoding"):
        inputs("a.txt", "a\n", "utf-9")


def test_lines_of_stdin_are_utf8_or_as_given(monkeypatch):
    for encoding, content in (
        (None, "café\n".encode()),
        ("cp1252", b"caf\xe9\n"),
        ("utf-16", "café\n".encode("utf-16")),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert [one["text"] for one in read_inputs("-", INPUTS, (), encoding, refuse)] == ["café"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n")))
    with pytest.raises(ConfigError, match="no byte order mark: say utf-16-le or utf-16-be"):
        list(read_inputs("-", INPUTS, (), "utf-16", refuse))


def test_texts_that_cannot_be_used_are_counted(trained):
    result = call("predict", trained, "great", "cut \ud83d", "awful")
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == ["good", "bad"]
    assert "input 2 holds half a character (a lone surrogate); it is left out." in result.stderr
    assert result.exit_code == 1


def test_an_unknown_format_is_suggested(trained):
    assert fails("predict", trained, "great", "--format", "jsno", status=2) == (
        '--format is "jsno", but must be one of: json. Did you mean "json"?'
    )


PO = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'


@pytest.mark.parametrize("name", ["de.po", "strings.txt"])
def test_the_messages_of_a_catalogue_are_inputs(inputs, name):
    text = PO + 'msgid "one"\nmsgid_plural "two"\nmsgstr[0] ""\nmsgstr[1] ""\n\nmsgid "three\\n"\nmsgstr "drei\\n"\n'
    assert inputs(name, text) == (["one", "two", "three\n"], [])


def test_messages_of_a_catalogue_are_predicted_in_order(trained, tmp_path):
    words = ["great", "awful", "the film was lovely and fine", "dull"]
    (tmp_path / "de.po").write_text(PO + "\n".join(f'msgid "{word}"\nmsgstr ""\n' for word in words))
    found = [json.loads(line) for line in good("predict", trained, "--input", tmp_path / "de.po").splitlines()]
    assert [(one["text"], one["label"]) for one in found] == list(zip(words, ["good", "bad"] * 2, strict=True))


def test_alignment_is_refused_where_there_is_none(trained):
    assert fails("predict", trained, "great", "--alignment", status=2) == (
        "--alignment is for recipes that have an endpoint named alignment, and this one has none."
    )
