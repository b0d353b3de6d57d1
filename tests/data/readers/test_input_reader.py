"""Inputs of predictions: texts as they are, images by the names of files, folders and globs."""

import pytest

from common.data.readers.input_reader import EXPLAINED, get_input_reader
from common.errors import DataError
from common.row_errors import RowErrors
from common.types import Field
from tests.helpers.made_images import picture

TEXT, IMAGE, TOKENS = Field("review", "text"), Field("photo", "image"), Field("words", "tokens")


def read(reader, arguments):
    """The inputs, and (location, message) of those that cannot be used."""
    errors = []
    return list(reader.read_arguments(arguments, lambda *error: errors.append(error))), errors


@pytest.mark.parametrize(
    ("field", "is_text", "is_image", "chunk_size"),
    [(TEXT, True, False, 512), (TOKENS, False, False, 512), (IMAGE, False, True, 64)],
)
def test_the_first_input_decides(field, is_text, is_image, chunk_size):
    reader = get_input_reader((field, TEXT))
    assert (reader.is_text, reader.is_image, reader.chunk_size) == (is_text, is_image, chunk_size)
    assert reader.reads_catalogs == is_text


def test_texts_keep_their_numbers_when_a_broken_one_is_left_out():
    inputs, errors = read(get_input_reader([TEXT]), ["fine", "a\0b", " "])
    assert inputs == [{"review": "fine", "place": "input 1"}, {"review": " ", "place": "input 3"}]
    assert [location for location, _ in errors] == ["input 2"]


def test_lines_of_texts_are_inputs_as_they_are():
    lines = [{"review": " fine ", "place": "a.txt:1"}]
    assert list(get_input_reader([TEXT]).read_lines(lines, None)) == lines


def test_images_of_a_folder_are_sorted_without_hidden_ones_and_our_own(tmp_path):
    for name in ("b.png", "a.png", ".c.png", f"a{EXPLAINED}"):
        (tmp_path / name).write_bytes(picture())
    inputs, errors = read(get_input_reader([IMAGE]), [str(tmp_path)])
    assert [example["file"] for example in inputs] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert inputs[0]["photo"] == picture() and inputs[0]["place"] == inputs[0]["file"]
    assert errors == []


def test_images_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    names = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), str(tmp_path / "*.jpg")]
    inputs, errors = read(get_input_reader([IMAGE]), names)
    assert inputs == [] and [location for location, _ in errors] == names
    assert errors[2][1] == "matches no file"


def test_lines_name_images_between_blanks_and_empty_ones_name_none(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    lines = [{"photo": f" {tmp_path / 'a.png'} ", "place": "x:1"}, {"photo": " ", "place": "x:2"}]
    (example,) = get_input_reader([IMAGE]).read_lines(lines, None)
    assert example["place"] == str(tmp_path / "a.png")


def test_tables_of_texts_and_of_images_are_opened_as_such(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "a.csv").write_text("review,photo\nfine,a.png\n")
    for field, value in ((TEXT, "fine"), (IMAGE, picture())):
        table = get_input_reader([field]).open_table(tmp_path / "a.csv", [field], (), None, RowErrors())
        assert [example[field.name] for _, example in table.rows()] == [value]
    with pytest.raises(DataError):
        get_input_reader([TEXT]).open_table(tmp_path / "b.csv", [TEXT], (), None, RowErrors())
