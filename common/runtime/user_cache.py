"""Where what can be fetched or made again is kept for the next run of the same user."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import DataError


def cache_dir() -> Path:
    """Return $XDG_CACHE_HOME/kerasserole, or ~/.cache/kerasserole."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(home).expanduser().absolute() / "kerasserole"
    except RuntimeError as error:
        raise DataError("No home folder is known to keep data in; set XDG_CACHE_HOME to a folder.") from error
