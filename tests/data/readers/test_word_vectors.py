"""Word vectors read back from files of every format, and what is said of damaged ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.readers.word_vectors import load_word_vectors
from common.errors import DataError

PROPERTY = settings(max_examples=60, deadline=None)
COMPRESSED = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": lambda data: pyarrow.compress(data, codec="zstd", asbytes=True),
}


def word2vec_text(rows, dim):
    return f"{len(rows)} {dim}\n".encode() + glove_text(rows, dim)


def glove_text(rows, dim):
    return b"".join(b" ".join([word, *(b"%r" % float(x) for x in row)]) + b"\n" for word, row in rows)


def word2vec_binary(rows, dim, after=b"\n"):
    return f"{len(rows)} {dim}\n".encode() + b"".join(word + b" " + row.tobytes() + after for word, row in rows)


WRITERS = {
    "word2vec text": word2vec_text,
    "GloVe text": glove_text,
    "word2vec binary": word2vec_binary,
    "binary without line ends": lambda rows, dim: word2vec_binary(rows, dim, b""),
}


@pytest.fixture
def written(tmp_path):
    """A function that writes bytes or a text to a file, and gives its path."""

    def write(data, name="vectors.vec"):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def found(path, wanted):
    """Words and vectors as a dict of lists."""
    vectors = load_word_vectors(path, wanted)
    return dict(zip(vectors.words, vectors.matrix.tolist(), strict=True))


def problem(path, wanted=("the",)):
    with pytest.raises(DataError) as caught:
        load_word_vectors(path, wanted)
    [line] = str(caught.value).splitlines()
    return line.removeprefix(f"{path.parent}/")


# Files that are in order


def test_vectors_of_word2vec_text(written):
    vectors = load_word_vectors(written("3 2\nthe 0.5 1\ncat -1e-1 .25\nsat 0 7\n"), ["sat", "the", "mat"])
    assert vectors.matrix.dtype == np.float32
    assert vectors.matrix.tolist() == [[0.5, 1], [0, 7]]
    assert (vectors.words, vectors.rows, vectors.dim) == (["the", "sat"], 3, 2)


def test_vectors_of_glove_text(written):
    vectors = load_word_vectors(written("the 0.5 1 2\ncat -1 .25 3\n"), ["cat"])
    assert (vectors.words, vectors.rows, vectors.dim) == (["cat"], 2, 3)
    assert vectors.matrix.tolist() == [[-1, 0.25, 3]]


def test_vectors_of_word2vec_binary(written):
    data = b"2 4\nthe " + np.array([1, 2, 3, 4], "<f4").tobytes() + b"\ncat " + np.array([5, 6, 7, 8], "<f4").tobytes()
    vectors = load_word_vectors(written(data), ["cat", "dog"])
    assert vectors.matrix.dtype == np.float32
    assert (vectors.matrix.tolist(), vectors.words, vectors.rows, vectors.dim) == ([[5, 6, 7, 8]], ["cat"], 2, 4)


@pytest.mark.parametrize("compress", COMPRESSED.values(), ids=COMPRESSED.keys())
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_vectors_of_compressed_files(written, compress, write):
    rows = [(f"word{i}".encode(), np.arange(i, i + 300, dtype="<f4")) for i in range(1_000)]  # more than one block
    vectors = load_word_vectors(written(compress(write(rows, 300))), ["word3", "word999", "word"])
    assert vectors.matrix.tolist() == [list(range(3, 303)), list(range(999, 1_299))]
    assert (vectors.words, vectors.rows) == (["word3", "word999"], 1_000)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n", "\n\n\n"])
def test_vectors_line_ends_do_not_matter(written, end):
    line = end.replace("\n\n\n", "\n") or "\n"
    assert load_word_vectors(written(f"the 1 2{line}cat 3 4{end}"), ["cat", "the"]).matrix.tolist() == [[1, 2], [3, 4]]
    assert load_word_vectors(written(f"the 1 2{line}cat 3 4{end}"), ["the"]).rows == 2


def test_vectors_tabs_after_words(written):
    assert found(written("the\t1 2\ncat\t3 4\n"), ["cat"]) == {"cat": [3, 4]}
    assert found(written("2 2\nthe\t1\t2\ncat\t3\t4\n"), ["cat"]) == {"cat": [3, 4]}


def test_vectors_byte_order_mark_is_no_part_of_a_word(written):
    assert found(written("\ufeffthe 1 2\n"), ["the"]) == {"the": [1, 2]}
    assert found(written("\ufeff1 2\nthe 1 2\n"), ["the"]) == {"the": [1, 2]}


def test_vectors_words_may_hold_blanks(written):
    path = written("the 1 2\n. . . 3 4\n. 5 6\nat me@x.org 7 8\n")
    assert found(path, [".", "at"]) == {".": [5, 6]}
    assert found(path, [". . .", "at me@x.org"]) == {". . .": [3, 4], "at me@x.org": [7, 8]}


def test_vectors_of_a_word_that_comes_twice_are_the_first(written):
    assert found(written("the 1 2\nthe 3 4\n"), ["the"]) == {"the": [1, 2]}
    rows = [(b"the", np.full(4, 1, "<f4")), (b"the", np.full(4, 2, "<f4"))]
    assert found(written(word2vec_binary(rows, 4)), ["the"]) == {"the": [1] * 4}


def test_vectors_words_are_matched_exactly(written):
    assert found(written("The 1 2\nthe 3 4\nthem 5 6\n"), ["the", "THE", "th"]) == {"the": [3, 4]}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_vectors_words_that_are_no_utf8_are_passed_over(written, write):
    rows = [
        (b"caf\xe9", np.full(9, 1.5, "<f4")),
        ("café".encode(), np.full(9, 2.5, "<f4")),
        (b"\xff", np.zeros(9, "<f4")),
    ]
    vectors = load_word_vectors(written(write(rows, 9)), ["café", "caf�", "�", "caf"])
    assert (vectors.words, vectors.matrix.tolist(), vectors.rows) == (["café"], [[2.5] * 9], 3)


def test_vectors_other_line_ends_and_blanks_belong_to_words(written):
    text = "a\u2028b 1 2\nc\u00a0d 3 4\ne\x85f 5 6\n"
    assert found(written(text), ["a\u2028b", "c\u00a0d", "e\x85f"]) == {
        "a\u2028b": [1, 2],
        "c\u00a0d": [3, 4],
        "e\x85f": [5, 6],
    }


@pytest.mark.parametrize("wanted", [[], ["mat"], ["", " ", "\n", " the", "\ud800"]])
def test_vectors_of_no_known_word_are_none(written, wanted):
    vectors = load_word_vectors(written("the 1 2\n\ncat 3 4\n"), wanted)
    assert (vectors.matrix.shape, vectors.matrix.dtype, vectors.words, vectors.rows) == ((0, 2), np.float32, [], 2)


def test_vectors_of_the_first_lines_of_a_file_are_read(written):
    """People cut them off by `head`, and the first line then says too many."""
    assert found(written("1000000 2\nthe 1 2\ncat 3 4\n"), ["cat"]) == {"cat": [3, 4]}


def test_vectors_numbers_of_unwanted_rows_are_not_looked_at(written):
    assert found(written("the 1 2\ncat one 2\ndog 1\nsat 3 4\n"), ["sat"]) == {"sat": [3, 4]}


# Round trips

spellings = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=6)


@st.composite
def files(draw, least):
    """Rows of a file, and the words that are wanted of it."""
    dim = draw(st.integers(least, 12))
    numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=dim, max_size=dim)
    rows = draw(st.lists(st.tuples(spellings, numbers), min_size=1, max_size=8))
    wanted = draw(st.lists(st.sampled_from([word for word, _ in rows]) | spellings, max_size=8))
    return dim, rows, wanted


def check_round_trip(write, dim, rows, wanted):
    expected = {}
    for word, row in rows:
        if word in wanted:
            expected.setdefault(word, row)
    data = write([(word.encode(), np.array(row, "<f4")) for word, row in rows], dim)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors"
        path.write_bytes(data)
        vectors = load_word_vectors(path, wanted)
    assert vectors.words == list(expected)
    assert vectors.matrix.tolist() == list(expected.values())
    assert (vectors.rows, vectors.dim) == (len(rows), dim)


@PROPERTY
@given(file=files(least=1))
def test_vectors_written_as_word2vec_text_are_read_back(file):
    check_round_trip(word2vec_text, *file)


@PROPERTY
@given(file=files(least=2))
def test_vectors_written_as_glove_text_are_read_back(file):
    check_round_trip(glove_text, *file)


@PROPERTY
@given(file=files(least=4))
def test_vectors_written_as_word2vec_binary_are_read_back(file):
    check_round_trip(word2vec_binary, *file)


@PROPERTY
@given(data=st.binary(max_size=200) | st.lists(st.sampled_from(["the", "1", "-2.5", " ", "\n", "2 2\n"])).map("".join))
def test_any_file_is_read_or_refused(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        try:
            vectors = load_word_vectors(path, ["the", "1"])
        except DataError:
            return
    assert vectors.matrix.shape == (len(vectors.words), vectors.dim)


# Files that are damaged


def test_an_empty_file_is_refused(written):
    assert problem(written("")) == "vectors.vec is empty: name a file of word vectors."


@pytest.mark.parametrize(
    "data", ["A story.\nThe end.\n", "text,label\ngood,1\n", "chapter 1\n", b"\x80\x04\x95\0\0", "\n\n", "3 99999\n"]
)
def test_a_file_of_something_else_is_refused(written, data):
    assert problem(written(data)) == (
        'vectors.vec holds no word vectors (its first line is neither "count dimension" nor a word and its numbers):'
        " name a .vec, .txt or .bin file."
    )


def test_a_model_of_fasttext_is_refused(written):
    assert problem(written(b"\xba\x16\x4f\x2f\x0c\0\0\0", "wiki.bin")) == (
        "wiki.bin is a model of fastText: name its vectors, the file that ends in .vec."
    )


@pytest.mark.parametrize("data", ["2 2\n", "2 2\n\n \n"])
def test_a_first_line_alone_is_refused(written, data):
    assert problem(written(data)) == "vectors.vec has a first line but no rows: download the file again."


def test_a_missing_file_is_refused(tmp_path):
    assert problem(tmp_path / "none.vec") == "none.vec does not exist: check the path, or name another file."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat 1 2 3\nthe 1 2\ndog 1 2 3\n", "2 has 2 numbers where the first row has 3"),
        ("cat 1 2 3\nthe 1 2 3 4\n", "2 has 4 numbers where the first row has 3"),
        ("2 3\ncat 1 2 3\nthe 1 2\n", "3 has 2 numbers where the first line says 3"),
        ("2 3\nthe 1 2\ncat 1 2 3\n", "2 has 2 numbers where the first line says 3"),
        ("2 3\ncat 1 2 3\nthe\n", "3 has 0 numbers where the first line says 3"),
        ("cat 1 2 3\ndog 1 2 3\nmat 1 2", "3 has 2 numbers where the first row has 3"),  # unwanted, but the last
    ],
)
def test_a_row_of_another_width_is_refused(written, text, message):
    assert problem(written(text)) == f"vectors.vec:{message}: download the file again, or take the row out."


@pytest.mark.parametrize("text", ["1 3\nthe 1 two 3\n", "cat 1 2 3\nthe two 2 3\n"])
def test_what_is_no_number_is_refused(written, text):
    assert problem(written(text)) == 'vectors.vec:2 has "two" where a number should be: download the file again.'


@pytest.mark.parametrize("number", ["nan", "-inf", "1e39"])
def test_a_number_that_is_not_finite_is_refused(written, number):
    assert problem(written(f"cat 1 2\nthe 1 {number}\n")) == (
        f"vectors.vec:2 has {number}, which is not finite: take the row out, or name another file."
    )


def test_a_binary_number_that_is_not_finite_is_refused(written):
    rows = [(b"cat", np.ones(4, "<f4")), (b"the", np.array([1, 2, np.nan, 4], "<f4"))]
    assert problem(written(word2vec_binary(rows, 4))) == (
        'vectors.vec has a number of "the" (row 2) that is not finite: download the file again.'
    )


BINARY = word2vec_binary([(f"word{i}".encode(), np.arange(8, dtype="<f4")) for i in range(3)], 8)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(len(BINARY) // 3 + 8, len(BINARY) - 2))
def test_a_cut_binary_file_is_refused(length):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cut.bin"
        path.write_bytes(BINARY[:length])
        assert problem(path).endswith("of 3: download the file again.")


def test_a_cut_binary_file_says_in_which_row(written):
    assert problem(written(BINARY[:-2])) == "vectors.vec is cut or damaged in row 3 of 3: download the file again."


def test_a_binary_file_that_goes_on_is_refused(written):
    assert problem(written(BINARY + b"more")) == (
        "vectors.vec goes on after the 3 rows that its first line says: download the file again."
    )


def test_a_binary_file_without_blanks_is_refused(written):
    assert problem(written(b"9 4\n" + b"\1" * 3_000_000)) == (
        "vectors.vec is cut or damaged in row 1 of 9: download the file again."
    )


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2", "zstd"])
def test_a_cut_compressed_file_is_refused(written, name):
    rows = [(b"word%d" % i, np.random.default_rng(i).normal(size=50).astype("<f4")) for i in range(2_000)]
    data = COMPRESSED[name](word2vec_text(rows, 50))
    assert "vectors.vec is damaged (" in problem(written(data[: len(data) // 2]))


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_first_rows_are_read_beside_wanted_words(tmp_path, kind):
    path = tmp_path / "four.vec"
    if kind == "text":
        path.write_text("4 2\nthe 1 0\nof 2 0\ncat 3 0\nmat 4 0\n")
    else:
        rows = [
            word + b" " + np.array([n, 0], "<f4").tobytes() for n, word in enumerate((b"the", b"of", b"cat", b"mat"), 1)
        ]
        path.write_bytes(b"4 2\n" + b"".join(rows))
    found = load_word_vectors(path, ["mat"], first=2)
    assert found.words == ["the", "of", "mat"]
    assert found.matrix[:, 0].tolist() == [1, 2, 4]
