"""What tests of several readers share."""

import pytest


@pytest.fixture
def made(tmp_path):
    """Writes a file of bytes or, in UTF-8, of text."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make
