"""Which recipes there are and how one is loaded: a recipe is a folder that holds config.py and recipe.py."""

from __future__ import annotations

import hashlib
import importlib
import sys
import types
from pathlib import Path
from typing import Any

from common import PROJECT_ROOT
from common.errors import ConfigError, suggestion

HERE = PROJECT_ROOT / "recipes"


def _is_recipe(folder: Path) -> bool:
    return (folder / "config.py").is_file() and (folder / "recipe.py").is_file()


def names() -> list[str]:
    """The built-in recipes, in alphabetical order."""
    return sorted(folder.name for folder in HERE.iterdir() if _is_recipe(folder))


def folder(name_or_path: str) -> Path:
    """The folder of a recipe, built-in by name or one's own by path.

    Raises:
      ConfigError: there is none.
    """
    if name_or_path in names():
        return HERE / name_or_path
    path = Path(name_or_path).expanduser()
    if _is_recipe(path):
        return path.resolve()
    if path.is_dir():
        raise ConfigError(f"{name_or_path} holds no recipe: config.py and recipe.py are needed there.")
    raise ConfigError(
        f'There is no recipe "{name_or_path}" (there are: {", ".join(names())}).{suggestion(name_or_path, names())}'
        " A recipe of your own is named by its path, such as ./mine."
    )


def identity(name_or_path: str) -> str:
    """What a run notes its recipe by: the name of a built-in one, the folder of one's own."""
    found = folder(name_or_path)
    return found.name if found.parent == HERE else str(found)


def module(name_or_path: str, name: str) -> types.ModuleType:
    """A module of a recipe by name, such as "config" or "data"."""
    path = folder(name_or_path)
    if path.parent == HERE:
        return importlib.import_module(f"recipes.{path.name}.{name}")
    # A package under a name of its own, so that two recipes of one name do not mix and relative imports work.
    package = f"recipe_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(path)]
    try:
        return importlib.import_module(f"{package}.{name}")
    except Exception as error:
        raise ConfigError(f"{path / name}.py cannot be imported: {type(error).__name__}: {error}.") from error


def load_config(name_or_path: str) -> Any:
    """The recipe's config module (`Config`, `ABOUT`); pure Python, no TensorFlow."""
    return module(name_or_path, "config")


def load(name_or_path: str) -> Any:
    """The recipe's class, which extends common.recipe.Recipe; imports TensorFlow.

    Raises:
      ConfigError: there is no such class, or it lacks a member.
    """
    from common.recipe import find_recipe_class

    return find_recipe_class(module(name_or_path, "recipe"))
