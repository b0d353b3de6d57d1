"""Published files: taken from disk, or downloaded from a server on this machine, checked, and put in their place."""

import hashlib
import http.server
import threading

import pytest

from common.data import download
from common.errors import ConfigError

CONTENT = bytes(range(256)) * 9000
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHERWISE = "give --backbone-weights FILE"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server with one file."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "some.h5").write_bytes(CONTENT)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.mark.parametrize("digest", [MD5, SHA256], ids=["md5", "sha256"])
def test_file_is_downloaded_once_and_then_taken_from_disk(server, tmp_path, digest):
    folder = tmp_path / "deep" / "models"
    path = download.download_file(f"{server}/some.h5", folder, digest, False, OTHERWISE)
    assert path == folder / "some.h5"
    assert path.read_bytes() == CONTENT
    assert [one.name for one in folder.iterdir()] == ["some.h5"]
    assert download.download_file("http://127.0.0.1:1/some.h5", folder, digest, False, OTHERWISE) == path
    assert download.download_file(f"{server}/some.h5", folder, digest, True, OTHERWISE) == path


def refused(url, folder, digest=MD5, offline=False):
    with pytest.raises(ConfigError) as caught:
        download.download_file(url, folder, digest, offline, OTHERWISE)
    return str(caught.value)


def test_download_of_another_content_leaves_no_file(server, tmp_path):
    message = refused(f"{server}/some.h5", tmp_path, "0" * 32)
    assert "what came is not the published file: 2,304,000 bytes of another content" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/some.h5", "{server}/missing/some.h5", "http://nowhere.invalid/some.h5"]
)
def test_file_that_cannot_be_downloaded_is_named_with_its_place(server, tmp_path, url):
    url = url.format(server=server)
    message = refused(url, tmp_path)
    assert message.startswith("some.h5 could not be downloaded (")
    assert message.endswith(f"Place {url} at {tmp_path / 'some.h5'}, or {OTHERWISE}.")
    assert list(tmp_path.iterdir()) == []


def test_offline_never_asks_the_network(server, tmp_path):
    message = refused(f"{server}/some.h5", tmp_path, offline=True)
    assert message.startswith("some.h5 is not there, and --offline forbids to download it. Place ")
    assert list(tmp_path.iterdir()) == []


def test_another_file_of_that_name_is_refused_and_kept(server, tmp_path):
    (tmp_path / "some.h5").write_bytes(b"mine")
    message = refused(f"{server}/some.h5", tmp_path)
    assert message == f"{tmp_path / 'some.h5'} is not the file that {server}/some.h5 names. Remove it, or {OTHERWISE}."
    assert (tmp_path / "some.h5").read_bytes() == b"mine"


def test_folder_that_cannot_be_made_is_an_error_like_any_other(server, tmp_path):
    (tmp_path / "file").write_text("")
    assert "could not be downloaded" in refused(f"{server}/some.h5", tmp_path / "file" / "models")


def test_keras_home_is_where_keras_keeps_files(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert download.keras_home() == tmp_path
    monkeypatch.delenv("KERAS_HOME")
    assert download.keras_home().name == ".keras"
