"""A recipe of one's own, by copying one of ours."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from common.discovery import recipe_dir
from common.errors import RunError


def copy_recipe(recipe: str, to: Path) -> None:
    """Copy a recipe's folder; nothing needs to be registered.

    Raises:
      ConfigError: there is no such recipe.
      RunError: the target exists or cannot be written.
    """
    source = recipe_dir(recipe)
    if to.exists() or to.is_symlink():
        raise RunError(f"{to} is there already. Name a new folder.")
    if not to.absolute().parent.is_dir():
        raise RunError(f"{to.absolute().parent} is no folder. Make it first, or name another place.")
    temporary = Path(tempfile.mkdtemp(prefix=".copy-", dir=to.absolute().parent))
    try:
        left_out = shutil.ignore_patterns("__pycache__", "*.pyc", "measured.json")
        shutil.copytree(source, temporary / "recipe", ignore=left_out)
        (temporary / "recipe").rename(to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
