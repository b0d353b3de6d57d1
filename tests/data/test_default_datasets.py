"""Archives made here are served to the real pip from a folder or a loopback socket; no test needs a network."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from common import PROJECT_ROOT as ROOT
from common.data import default_datasets
from common.data.default_datasets import Archive, attribution_info, download_archive
from common.errors import DataError
from common.runtime.user_cache import cache_dir

WORDS = b"a fine film\npos\n"
INNER = "zwölf\n".encode()
LICENCE = b"Permission is hereby granted.\n"
METADATA = "Metadata-Version: 2.1\nName: toydata\nVersion: 1.0\n"

# A build backend inside the sdist that requires nothing, so that pip can build the metadata without an index.
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = f"""
import pathlib

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "toydata-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text({METADATA!r})
    return info.name
"""


@pytest.fixture(autouse=True)
def wheelhouse(monkeypatch, tmp_path):
    """The folder that pip is set to, and nothing else; the cache is a folder of the test's own."""
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache home"))
    return folder


def tar_of(files, links=()):
    """The bytes of a tar.gz of files {path: bytes} and of symbolic links (path, target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for path, target in links:
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return stream.getvalue()


def sdist(folder, members=None, links=(), licence="LICENSE"):
    """An sdist written into the folder, and its pin."""
    files = {
        "PKG-INFO": METADATA.encode(),
        "pyproject.toml": PYPROJECT.encode(),
        "backend.py": BACKEND.encode(),
        licence: LICENCE,
        "data/words.txt": WORDS,
        "data/deep.tar.gz": tar_of({"deep/inner.txt": INNER}),
    }
    content = tar_of({f"toydata-1.0/{path}": data for path, data in files.items()}, links)
    return written(folder / "toydata-1.0.tar.gz", content, "sdist", members or {"w.txt": "toydata-1.0/data/words.txt"})


def wheel(folder, members=None, links=()):
    """A wheel written into the folder, and its pin; it says that it is for another Python."""
    files = {
        "toydata/words.txt": WORDS,
        "toydata/license.py": b"",
        "toydata-1.0.dist-info/METADATA": f"{METADATA}Requires-Python: >=99\n".encode(),
        "toydata-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "toydata-1.0.dist-info/RECORD": b"",
        "toydata-1.0.dist-info/licenses/LICENSE.txt": LICENCE,
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        for path, target in links:
            info = zipfile.ZipInfo(path)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
    path = folder / "toydata-1.0-py3-none-any.whl"
    return written(path, stream.getvalue(), "wheel", members or {"w.txt": "toydata/words.txt"})


def written(path, content, kind, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return Archive("toydata", "1.0", kind, path.name, digest, members, "MIT", "A. Author, Toys, 2020")


def by_hand():
    """Where a user places an archive."""
    return cache_dir() / "archives"


def leftovers():
    """All that stands in the cache's data folder, hidden names too."""
    data = cache_dir() / "data"
    return sorted(path.name for path in data.iterdir()) if data.exists() else []


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def quiet(line):
    pass


def test_fetch_gets_an_sdist_with_pip(wheelhouse):
    folder = download_archive(sdist(wheelhouse), say=quiet)
    assert names(folder) == ["ATTRIBUTION.txt", "LICENSE", "w.txt"]
    assert (folder / "w.txt").read_bytes() == WORDS
    assert (folder / "LICENSE").read_bytes() == LICENCE


def test_fetch_gets_a_wheel_with_pip_whatever_python_it_asks_for(wheelhouse):
    folder = download_archive(wheel(wheelhouse), say=quiet)
    assert names(folder) == ["ATTRIBUTION.txt", "LICENSE.txt", "w.txt"]
    assert (folder / "w.txt").read_bytes() == WORDS


def test_fetch_names_the_folder_by_package_version_and_hash_and_leaves_nothing_beside_it(wheelhouse):
    archive = wheel(wheelhouse)
    download_archive(archive, say=quiet)
    assert leftovers() == [f"toydata-1.0-{archive.sha256[:12]}"]


def test_fetch_again_calls_no_pip_and_says_nothing(wheelhouse):
    archive = wheel(wheelhouse)
    first = download_archive(archive, say=quiet)
    (wheelhouse / archive.filename).unlink()
    lines = []
    assert download_archive(archive, say=lines.append) == first
    assert lines == []


def test_fetch_adds_to_a_folder_that_lacks_a_file_and_keeps_the_rest(wheelhouse):
    archive = wheel(wheelhouse)
    folder = cache_dir() / "data" / f"toydata-1.0-{archive.sha256[:12]}"
    folder.mkdir(parents=True)
    (folder / "LICENSE.txt").write_bytes(b"theirs")
    assert download_archive(archive, say=quiet) == folder
    assert (folder / "w.txt").read_bytes() == WORDS
    assert (folder / "LICENSE.txt").read_bytes() == b"theirs"


def test_fetch_says_what_it_fetches_and_whose_it_is(wheelhouse):
    lines = []
    folder = download_archive(wheel(wheelhouse), say=lines.append)
    assert lines == [
        "fetching toydata 1.0 (MIT): toydata-1.0-py3-none-any.whl, once, by pip",
        f"data: A. Author, Toys, 2020; licence MIT; kept in {folder}",
    ]


def test_fetch_speaks_on_stderr(capsys):
    download_archive(wheel(by_hand()))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("data: A. Author")


def test_fetch_uses_an_archive_placed_by_hand_when_offline():
    folder = download_archive(wheel(by_hand()), offline=True, say=quiet)
    assert (folder / "w.txt").read_bytes() == WORDS


def test_fetch_offline_with_nothing_names_the_file_and_its_place(tmp_path):
    archive = wheel(tmp_path)
    with pytest.raises(DataError) as caught:
        download_archive(archive, offline=True, say=quiet)
    assert str(caught.value) == (
        "The data of toydata 1.0 is not on this machine and may not be fetched offline; run once with a network, "
        f"or place {archive.filename} at {by_hand() / archive.filename}."
    )
    assert leftovers() == []
    assert by_hand().is_dir()


def test_fetch_refuses_an_archive_placed_by_hand_that_is_not_the_pinned_one():
    archive = wheel(by_hand())
    placed = by_hand() / archive.filename
    placed.write_bytes(b"something else")
    with pytest.raises(DataError) as caught:
        download_archive(archive, say=quiet)
    assert str(caught.value) == (
        f"{placed} has SHA-256 {hashlib.sha256(b'something else').hexdigest()[:12]}, where {archive.sha256[:12]} is "
        f"pinned; delete it, or put the {archive.filename} of toydata 1.0 in its place."
    )
    assert leftovers() == []


def test_fetch_refuses_an_archive_of_another_hash_that_pip_finds(wheelhouse, tmp_path):
    archive = wheel(tmp_path)
    other = wheel(wheelhouse, links=[("toydata/more", "x")])
    with pytest.raises(DataError) as caught:
        download_archive(archive, say=quiet)
    assert f"what it found has SHA-256 {other.sha256[:12]}, where {archive.sha256[:12]} is pinned" in str(caught.value)
    assert leftovers() == []


def test_fetch_without_the_package_gives_pips_reason_and_the_place(tmp_path):
    archive = wheel(tmp_path)
    with pytest.raises(DataError) as caught:
        download_archive(archive, say=quiet)
    assert str(caught.value) == (
        f"pip could not fetch {archive.filename} (No matching distribution found for toydata==1.0); mend the network "
        f"or pip's settings, or place the file at {by_hand() / archive.filename}."
    )
    assert leftovers() == []


def test_fetch_without_a_network_names_the_broken_connection(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free again, and refused, once the socket is closed
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    with pytest.raises(DataError) as caught:
        download_archive(wheel(tmp_path), say=quiet)
    # How pip words it depends on its version.
    assert "could not fetch toydata-1.0-py3-none-any.whl (NewConnectionError" in str(caught.value)
    assert "or place the file at" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fetch_leaves_retries_to_a_user_who_set_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "several")
    with pytest.raises(DataError, match="several"):
        download_archive(wheel(tmp_path), say=quiet)


def test_fetch_without_pip_names_the_file_and_its_place(tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False)
    scripts = "Scripts" if os.name == "nt" else "bin"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / scripts / "python"))
    archive = wheel(tmp_path)
    with pytest.raises(DataError, match="No module named pip") as caught:
        download_archive(archive, say=quiet)
    assert f"place the file at {by_hand() / archive.filename}." in str(caught.value)


def test_fetch_reads_a_tar_inside_the_archive():
    archive = sdist(by_hand(), {"in.txt": "toydata-1.0/data/deep.tar.gz!deep/inner.txt"})
    assert (download_archive(archive, say=quiet) / "in.txt").read_bytes() == INNER


def test_fetch_reads_one_member_under_two_names():
    archive = sdist(by_hand(), {"a": "toydata-1.0/data/words.txt", "b": "toydata-1.0/data/words.txt"})
    folder = download_archive(archive, say=quiet)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes() == WORDS


@pytest.mark.parametrize("path", ["toydata-1.0/none.txt", "toydata-1.0/data/deep.tar.gz!none", "none.tar.gz!deep"])
def test_fetch_names_a_member_that_is_missing(path):
    with pytest.raises(DataError) as caught:
        download_archive(sdist(by_hand(), {"w.txt": "toydata-1.0/data/words.txt", "x": path}), say=quiet)
    assert str(caught.value).startswith(f'toydata-1.0.tar.gz holds no file "{path}"')
    assert leftovers() == []


@pytest.mark.parametrize("build", [sdist, wheel])
def test_fetch_refuses_a_link(build):
    archive = build(by_hand(), {"x": "toydata-1.0/link"}, links=[("toydata-1.0/link", "/etc/hostname")])
    with pytest.raises(DataError, match=r'holds no file "toydata-1.0/link"'):
        download_archive(archive, say=quiet)


def test_fetch_refuses_a_member_above_the_bound(monkeypatch):
    monkeypatch.setattr(default_datasets, "MEMBER_BYTES", len(WORDS) - 1)
    with pytest.raises(DataError, match=r'"toydata/words.txt" is larger than 15 bytes'):
        download_archive(wheel(by_hand()), say=quiet)
    assert leftovers() == []


def test_fetch_of_a_pinned_file_that_is_no_archive_is_an_error():
    archive = sdist(by_hand(), {"x": "toydata-1.0/data/words.txt!x"})
    with pytest.raises(DataError, match=r"toydata-1.0.tar.gz or an archive in it cannot be read"):
        download_archive(archive, say=quiet)


def test_fetch_keeps_the_other_process_folder_when_that_was_faster(wheelhouse):
    archive = wheel(wheelhouse)

    def overtaken(line):
        if line.startswith("fetching"):
            folder = download_archive(archive, say=quiet)
            (folder / "w.txt").write_bytes(b"theirs")

    assert (download_archive(archive, say=overtaken) / "w.txt").read_bytes() == b"theirs"
    assert len(leftovers()) == 1


FETCH = """
import sys
from common.data.default_datasets import Archive, download_archive
members = {"w.txt": "toydata/words.txt"}
print(download_archive(Archive("toydata", "1.0", "wheel", sys.argv[1], sys.argv[2], members, "MIT", "A.")))
"""


def started(archive):
    """Another process that fetches the archive."""
    command = [sys.executable, "-c", FETCH, archive.filename, archive.sha256]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )


def test_fetch_by_two_processes_at_once_succeeds_in_both(wheelhouse):
    archive = wheel(wheelhouse)
    processes = [started(archive), started(archive)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    [folder] = {out.strip() for out, _ in outputs}
    assert (Path(folder) / "w.txt").read_bytes() == WORDS
    assert leftovers() == [Path(folder).name]


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_fetch_leaves_nothing_behind_on_ctrl_c(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        process = started(wheel(tmp_path))
        connection, _ = silent.accept()  # pip is at work now, and waits for an answer
        with connection:
            assert len(leftovers()) == 1
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert leftovers() == []


def test_fetch_into_a_cache_that_cannot_be_made_names_the_place_and_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError) as caught:
        download_archive(wheel(tmp_path), say=quiet)
    assert str(tmp_path / "file" / "kerasserole") in str(caught.value)
    assert str(caught.value).endswith("make room or allow writing there, or set XDG_CACHE_HOME to another folder.")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_fetch_into_a_cache_that_may_not_be_written_names_the_remedy(tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(locked))
    with pytest.raises(DataError, match=r"Permission denied.*set XDG_CACHE_HOME to another folder"):
        download_archive(wheel(tmp_path), say=quiet)


def test_cache_dir_is_in_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "kerasserole"


@pytest.mark.parametrize("value", [None, ""])
def test_cache_dir_without_xdg_cache_home_is_in_the_home_folder(monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    if value is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_dir() == tmp_path / ".cache" / "kerasserole"


def test_attribution_has_what_a_run_keeps(tmp_path):
    archive = wheel(tmp_path)
    assert attribution_info(archive) == {
        "source": "A. Author, Toys, 2020",
        "licence": "MIT",
        "package": "toydata",
        "version": "1.0",
        "sha256": archive.sha256,
    }


def test_attribution_stands_beside_the_data():
    archive = wheel(by_hand())
    assert (download_archive(archive, say=quiet) / "ATTRIBUTION.txt").read_text() == (
        f"source: A. Author, Toys, 2020\nlicence: MIT\npackage: toydata\nversion: 1.0\nsha256: {archive.sha256}\n"
    )


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "ATTRIBUTION.txt"])
def test_archive_refuses_a_name_that_is_no_plain_file(name):
    with pytest.raises(ValueError, match="is no name for a file in the cache"):
        Archive("toydata", "1.0", "sdist", "toydata-1.0.tar.gz", "0" * 64, {name: "x"}, "MIT", "A.")


def test_archive_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match='has kind "egg"'):
        Archive("toydata", "1.0", "egg", "toydata-1.0.egg", "0" * 64, {"x": "x"}, "MIT", "A.")
