"""The long list of data that cannot be used: one clear sentence each, the same from `check` and from `run`."""

import gzip
import lzma
import os
import resource
import shutil
import signal
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest
from calls import SMALL, call, fails, good, tiny_texts, write
from conftest import ROOT

ROWS = "text,label\n" + "".join(f"{text},{label}\n" for text, label in tiny_texts(40))


def zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def parquet(path):
    table = pyarrow.table({"text": ["a", "b"], "label": ["x", "y"]})
    pyarrow.parquet.write_table(table, path)
    return path.read_bytes()


def made(tmp_path, kind):
    """The path of bad data, what the sentence about it must hold."""
    path = tmp_path / "reviews.csv"
    if kind == "binary":
        path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 50)
        return path, "reviews.csv is binary data, not text: save it as text in UTF-8"
    if kind == "gzip":
        path.write_bytes(gzip.compress(ROWS.encode())[:-20])
        return path, "reviews.csv is damaged (Compressed file ended"
    if kind == "gzip in the middle":
        data = bytearray(gzip.compress(os.urandom(3_000_000).hex().encode()))
        data[len(data) // 2 : len(data) // 2 + 100] = b"\xff" * 100
        path.write_bytes(data)
        return path, "reviews.csv is damaged ("
    if kind == "xz":
        path.write_bytes(lzma.compress(ROWS.encode())[:-20])
        return path, "reviews.csv is damaged (Compressed file ended"
    if kind == "zst":
        path.write_bytes(zstd(ROWS.encode())[:-20])
        return path, "reviews.csv is damaged (Truncated compressed stream)"
    if kind == "parquet":
        path = tmp_path / "reviews.parquet"
        path.write_bytes(parquet(path)[:-7])
        return path, "reviews.parquet is damaged ("
    if kind == "no parquet":
        path = tmp_path / "reviews.parquet"
        path.write_text(ROWS)
        return path, "is no Parquet file"
    if kind == "one line":
        path.write_text("word " * 2_000_000)
        return path, "reviews.csv has too few columns (1) for text and label: separate cells by commas"
    if kind == "empty":
        path.write_text("")
        return path, "reviews.csv is empty: name a file with a row for each example"
    if kind == "missing":
        return path, "reviews.csv does not exist: check the path"
    if kind == "folder":
        path = tmp_path / "folder"
        path.mkdir()
        return path, "has no folder of text files for each label"
    if kind == "array":
        path = tmp_path / "reviews.json"
        path.write_text('[{"text": "a", "label": "b"}]')
        return path, "reviews.json holds a JSON array: write each object on a line of its own"
    if kind == "spreadsheet":
        path = tmp_path / "reviews.xlsx"
        path.write_bytes(b"PK\x03\x04" + bytes(100))
        return path, "reviews.xlsx is a spreadsheet: save it as CSV"
    raise AssertionError(kind)


FILES = ["binary", "gzip", "gzip in the middle", "xz", "zst", "parquet", "no parquet", "one line", "empty", "missing"]
FILES += ["folder", "array", "spreadsheet"]


@pytest.mark.parametrize("kind", FILES)
def test_files_that_cannot_be_used_get_one_sentence_from_check_and_run_alike(tmp_path, kind):
    path, told = made(tmp_path, kind)
    checked = fails("check", "sentiment", "--data", path)
    assert told in checked
    assert fails("run", "sentiment", "--data", path, "--run-dir", tmp_path / "run") == checked
    assert not (tmp_path / "run").exists()


BROKEN = {
    "holds a NUL byte": b"a\0b,good\n",
    "is not valid utf-8": b"caf\xe9,good\n",
    "has 1 cell where the first row has 2": b"only one\n",
    "has no label": b"text,\n",
    "opens a quote that is never closed, which loses the rest of the file": b'"open,good\n',
}


def test_rows_that_cannot_be_used_are_counted_by_check_and_run_alike(tmp_path):
    path = tmp_path / "reviews.csv"
    # Beyond the sample from which the encoding is taken.
    path.write_bytes(ROWS.encode() + b" " * 2**20 + b"fine,good\n" + b"".join(BROKEN.values()))
    data = ["sentiment", "--data", path, "--encoding", "utf-8"]
    ran = call("run", *data, *SMALL, "--epochs", "1", "--run-dir", tmp_path / "run")
    for shown in (good("check", *data), ran.stderr):
        for number, wrong in enumerate(BROKEN, 43):
            assert f"reviews.csv:{number} {wrong}" in shown
    assert "Skipped 5 broken rows of" in ran.stderr and ran.exit_code == 0
    told = "reviews.csv:43 holds a NUL byte. Mend the row, or leave out --strict to skip it."
    assert fails("check", *data, "--strict") == fails("run", *data, "--strict") == told


@pytest.mark.slow
def test_a_text_of_ten_megabytes_is_a_text(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(ROWS + '"' + "great word " * 920_000 + '",good\n')
    good(
        "run", "sentiment", "--data", path, "--split", "100,0,0", "--run-dir", tmp_path / "run", *SMALL, "--epochs", "1"
    )
    assert len(good("predict", tmp_path / "run", "--input", path).splitlines()) == 41


@pytest.mark.slow
def test_labels_that_differ_in_case_or_blanks_are_told_by_both(tmp_path):
    rows = tiny_texts(60)
    rows = [(text, label.title() if number % 3 == 0 else label) for number, (text, label) in enumerate(rows)]
    path = write(tmp_path / "reviews.csv", rows)
    told = 'The labels "Good" and "good" differ in case or blanks only: if they are one, make them so by --label-names.'
    assert f"Warning: {told}" in " ".join(good("check", "sentiment", "--data", path).split())
    words = ["run", "sentiment", "--data", path, *SMALL, "--epochs", "1", "--run-dir"]
    assert f"Warning: {told}" in call(*words, tmp_path / "a").stderr
    names = tmp_path / "names.txt"
    names.write_text("Good\tgood\ngood\tgood\nBad\tbad\nbad\tbad\n")
    mended = call(*words, tmp_path / "b", "--label-names", names)
    assert mended.exit_code == 0 and "differ in case" not in mended.stderr


def test_a_label_that_training_lacks_is_told_by_both(tmp_path):
    path, other = (
        write(tmp_path / "a.csv", tiny_texts(40)),
        write(tmp_path / "b.csv", [("so so", "middling"), *tiny_texts(9)]),
    )
    data = ["--data", path, "--valid", other]
    assert "Labels of the valid part that training lacks, always counted as wrong: middling" in " ".join(
        good("check", "sentiment", *data).split()
    )
    result = call("run", "sentiment", *data, *SMALL, "--epochs", "1", "--run-dir", tmp_path / "run")
    assert result.exit_code == 0
    assert (
        "Warning: 1 examples of the valid part have labels that training lacks; they count as wrong." in result.stderr
    )


# What only another process can meet


def run(*words, wrapper=(), cache=None, before=None):
    """The command line in a process of its own: (exit status, stderr)."""
    environment = {**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
    command = [*wrapper, sys.executable, ROOT / "cli.py", *words]
    result = subprocess.run(
        [str(w) for w in command], env=environment, capture_output=True, text=True, preexec_fn=before
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stderr


@pytest.mark.slow
def test_places_without_permission_get_one_sentence(tmp_path):
    # As root only without the right to pass over permissions.
    wrapper = [] if os.getuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if wrapper and not shutil.which("setpriv"):
        pytest.skip("root passes over permissions, and setpriv is not here to forbid it")
    folder = tmp_path / "labels"
    (folder / "pos").mkdir(parents=True)
    (folder / "neg").mkdir()
    (folder / "neg").chmod(0)
    file = write(tmp_path / "a.csv", tiny_texts(10))
    file.chmod(0)
    try:
        for data, place in ((folder, folder / "neg"), (file, file)):
            told = {run(name, "sentiment", "--data", data, wrapper=wrapper) for name in ("check", "run")}
            assert len(told) == 1, told
            assert told.pop() == (
                1,
                f"Error: {place} may not be read: change its permissions, or name another.\n",
            )
    finally:
        (folder / "neg").chmod(0o700)


def small_files(size):
    """Makes every file of the process end at `size` bytes, as on a disk that is full."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(tmp_path, reviews):
    words = [
        "run",
        "sentiment",
        "--data",
        reviews,
        *SMALL,
        "--epochs",
        "1",
        "--pair-buckets",
        "100000",
        "--run-dir",
        tmp_path / "run",
    ]
    status, told = run(*words, cache=tmp_path / "cache", before=small_files(100_000))
    assert status == 1
    last = told.rstrip("\n").splitlines()[-1]
    assert last.startswith("Error: ") and "File too large" in last and "Check the path, space and permissions." in last
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [
        path for path in files if path.name in ("checkpoint.npz", "best.npz", "metrics.json") or ".tmp" in path.name
    ]
    status, told = run(*words, cache=tmp_path / "cache")  # with room again it goes on
    assert status == 0, told


@pytest.mark.slow
def test_two_processes_that_fetch_the_default_data_at_once_both_have_it(tmp_path, own_cache):
    from recipes.sentiment.data import SNIPPETS

    placed = next((own_cache / "kerasserole" / "data").resolve().parent.glob(f"archives/{SNIPPETS.filename}"), None)
    code = "import sys; sys.path.insert(0, sys.argv[1]); from recipes.sentiment import data as d; "
    code += "print(len(list(d.snippets()[0])))"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    if placed:
        (tmp_path / "kerasserole" / "archives").mkdir(parents=True)
        shutil.copy(placed, tmp_path / "kerasserole" / "archives")
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, ROOT],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [(one.communicate(timeout=300)[0], one.returncode) for one in both] == [("10568\n", 0)] * 2
    [folder] = (tmp_path / "kerasserole" / "data").iterdir()
    assert (folder / "movie_snippets.tsv").is_file()
