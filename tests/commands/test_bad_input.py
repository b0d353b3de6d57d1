"""The long list of data that cannot be used: one clear sentence each, the same from `check` and from `run`."""

import gzip
import hashlib
import io
import lzma
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile

import pyarrow
import pyarrow.parquet
import pytest

from common import PROJECT_ROOT as ROOT
from tests.helpers.cli_calls import SMALL, call, fails, good, tiny_texts, write

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
        path.write_text('[{"text": "a", "label": "b"}\n')
        return path, "reviews.json:2 ends before its array does: mend the file, or write it again"
    if kind == "array by content":
        path = tmp_path / "reviews"
        path.write_text('[\n  {"text": "a", "label": "b"}\n  {"text": "b", "label": "b"}\n]\n')
        return path, 'reviews:3 has "{" where a comma is wanted: mend the file, or write it again'
    if kind == "zip":
        path = tmp_path / "reviews.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("reviews.csv", ROWS)
        return path, "reviews.zip is a zip archive: unpack it, and name that file"
    if kind == "packed parquet":
        path = tmp_path / "reviews.parquet.gz"
        path.write_bytes(gzip.compress(parquet(path)))
        return path, "reviews.parquet.gz is a compressed Parquet file, which cannot be read in pieces: unpack it"
    if kind == "parquet in the middle":
        path = tmp_path / "reviews.parquet"
        data = parquet(path)
        path.write_bytes(data[:30] + data[60:])
        return path, "reviews.parquet is damaged ("
    if kind == "typed parquet":
        path = tmp_path / "reviews.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": [["x"]]}), path)
        return path, 'The column "label" of'
    if kind == "header alone":
        path.write_text("text,label\n")
        return path, "reviews.csv has a header but no rows: add a row for each example"
    if kind == "every row broken":
        path.write_text("text,label\n" + "one cell\n" * 20)
        return path, "holds no training example"
    if kind == "folders without files":
        path = tmp_path / "folder"
        (path / "pos").mkdir(parents=True)
        return path, "hold no files: name another folder, or one of them"
    if kind == "folder of a table":
        path = tmp_path / "folder"
        path.mkdir()
        (path / "a.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
        return path, "name its files, such as '"
    if kind == "glob":
        return tmp_path / "*.csv", "No file matches"
    if kind == "long name":
        return tmp_path / ("x" * 300), "File name too long"
    if kind == "device":
        return "/dev/full", "/dev/full is a pipe or device, which cannot be read twice"
    if kind == "unequal":
        (tmp_path / "text.txt").write_text("a\nb\n")
        (tmp_path / "label.txt").write_text("x\n")
        return f"{tmp_path}/text.txt,{tmp_path}/label.txt", "text.txt has 2 lines and label.txt has 1 lines"
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
    assert "Warning: the valid part has 1 of a label that training lacks; they count as wrong." in result.stderr


# What only another process can meet


def run(*words, cache=None, before=None, stdout=subprocess.PIPE):
    """The command line in a process of its own: (exit status, stderr)."""
    environment = {**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
    command = [str(word) for word in (sys.executable, ROOT / "cli.py", *words)]
    result = subprocess.run(
        command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, preexec_fn=before
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stderr


PERMISSIONS = """
import sys
sys.path[:0] = sys.argv[1:3]
from tests.helpers.cli_calls import fails
for data in sys.argv[3:]:
    checked, ran = (fails(name, "sentiment", "--data", data) for name in ("check", "run"))
    assert checked == ran, (checked, ran)
    print(checked)
"""


@pytest.mark.slow
def test_places_without_permission_get_one_sentence(tmp_path):
    # As root only without the right to pass over permissions; in one process, for TensorFlow is slow to import.
    wrapper = [] if os.getuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if wrapper and not shutil.which("setpriv"):
        pytest.skip("root passes over permissions, and setpriv is not here to forbid it")
    folder, other, glob = tmp_path / "labels", tmp_path / "other", tmp_path / "glob"
    for name in ("labels/pos/1.txt", "labels/neg/2.txt", "other/pos/3.txt", "glob/a.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text,label\na,b\n")
    parquets = tmp_path / "a.parquet"
    parquet(parquets)
    closed = [folder / "neg", other / "pos" / "3.txt", glob / "a.csv", parquets]
    named = [folder, other, glob / "*.csv", parquets]
    for path in closed:
        path.chmod(0)
    try:
        command = [*wrapper, sys.executable, "-c", PERMISSIONS, ROOT, ROOT / "tests", *named]
        result = subprocess.run([str(w) for w in command], capture_output=True, text=True)
    finally:
        (folder / "neg").chmod(0o700)
    told = [f"{place} may not be read: change its permissions, or name another." for place in closed]
    assert (result.stdout.splitlines(), result.returncode) == (told, 0), result.stderr


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
        "--bigram-buckets",
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
        path
        for path in files
        if path.name in ("checkpoint.npz", "best_weights.npz", "metrics.json") or ".tmp" in path.name
    ]
    kept = tmp_path / "cache" / "kerasserole" / "encoded"
    assert all((folder / "about.json").is_file() for folder in kept.iterdir())  # whole ones only, none begun
    status, told = run(*words, cache=tmp_path / "cache")  # with room again it goes on
    assert status == 0, told


@pytest.mark.slow
def test_a_disk_that_is_full_for_stdout_is_one_sentence(reviews):
    with open("/dev/full", "w") as full:
        status, told = run("check", "sentiment", "--data", reviews, stdout=full)
    assert status == 1
    assert told.endswith("No space left on device. Check the path, space and permissions.\n")


FETCH = """
import sys
sys.path.insert(0, sys.argv[1])

from common.data.default_datasets import Archive, download_archive
members = {"w.txt": "toydata-1.0/w.txt"}
archive = Archive("toydata", "1.0", "sdist", "toydata-1.0.tar.gz", sys.argv[2], members, "MIT", "us")
print("ready", flush=True)
sys.stdin.readline()
print(download_archive(archive, offline=True))
"""


def test_processes_that_fetch_one_archive_at_once_all_have_it(tmp_path):
    placed = tmp_path / "kerasserole" / "archives" / "toydata-1.0.tar.gz"
    placed.parent.mkdir(parents=True)
    words = os.urandom(2_000_000).hex().encode()  # so that unpacking takes a while
    with tarfile.open(placed, "w:gz", compresslevel=1) as archive:
        for name, content in (("w.txt", words), ("LICENSE", b"Permission is hereby granted.\n")):
            info = tarfile.TarInfo(f"toydata-1.0/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    command = [sys.executable, "-c", FETCH, str(ROOT), hashlib.sha256(placed.read_bytes()).hexdigest()]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    processes = [subprocess.Popen(command, env=environment, **options) for _ in range(3)]
    for one in processes:
        assert one.stdout.readline() == "ready\n"
    for one in processes:
        one.stdin.write("go\n")
        one.stdin.flush()
    outputs = [one.communicate() for one in processes]
    [folder] = (tmp_path / "kerasserole" / "data").iterdir()  # and nothing that was half unpacked
    assert [(one.returncode, out) for one, (out, _) in zip(processes, outputs, strict=True)] == [(0, f"{folder}\n")] * 3
    assert sorted(path.name for path in folder.iterdir()) == ["ATTRIBUTION.txt", "LICENSE", "w.txt"]
    assert (folder / "w.txt").read_bytes() == words


def test_rows_that_are_all_broken_are_counted_in_the_sentence(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "fine,\n" * 3)
    told = "3 rows are broken, first reviews.csv:2 has no label."
    for command in ("check", "run"):
        assert told in fails(command, "sentiment", "--data", path, "--split", "100,0,0")
