"""Which recipes there are and how one is loaded: a recipe is a folder that holds config.py and recipe.py."""

from __future__ import annotations

import hashlib
import importlib
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import PROJECT_ROOT
from common.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from common.recipe import Recipe

RECIPES_DIR = PROJECT_ROOT / "recipes"
RECIPE_BASE = "common.recipe.Recipe"
REQUIRED_MEMBERS = (
    "fields",
    "load_data",
    "build_assets",
    "encode",
    "encode_targets",
    "build_model",
    "compute_loss",
    "predict",
)


def _is_recipe(folder: Path) -> bool:
    return (folder / "config.py").is_file() and (folder / "recipe.py").is_file()


def list_recipes() -> list[str]:
    """Return the built-in recipes, in alphabetical order."""
    return sorted(folder.name for folder in RECIPES_DIR.iterdir() if _is_recipe(folder))


def recipe_dir(name_or_path: str) -> Path:
    """Return the folder of a recipe, built-in by name or one's own by path.

    Raises:
      ConfigError: there is none.
    """
    if name_or_path in list_recipes():
        return RECIPES_DIR / name_or_path
    path = Path(name_or_path).expanduser()
    if _is_recipe(path):
        return path.resolve()
    if path.is_dir():
        raise ConfigError(f"{name_or_path} holds no recipe: config.py and recipe.py are needed there.")
    raise ConfigError(
        f'There is no recipe "{name_or_path}" (there are: {", ".join(list_recipes())}).'
        f"{did_you_mean(name_or_path, list_recipes())}"
        " A recipe of your own is named by its path, such as ./mine."
    )


def recipe_id(name_or_path: str) -> str:
    """Return what a run notes its recipe by: the name of a built-in one, the folder of one's own."""
    folder = recipe_dir(name_or_path)
    return folder.name if folder.parent == RECIPES_DIR else str(folder)


def import_recipe_module(name_or_path: str, name: str) -> types.ModuleType:
    """Import a module of a recipe by name, such as "config" or "data"."""
    path = recipe_dir(name_or_path)
    if path.parent == RECIPES_DIR:
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


def load_recipe_config(name_or_path: str) -> Any:
    """Import the recipe's config module (`Config`, `ABOUT`); pure Python, no TensorFlow."""
    return import_recipe_module(name_or_path, "config")


def load_recipe(name_or_path: str) -> type[Recipe[Any]]:
    """Return the recipe's class, which extends common.recipe.Recipe; imports TensorFlow.

    Raises:
      ConfigError: there is no such class, there are several, or it lacks a member.
    """
    module = import_recipe_module(name_or_path, "recipe")
    location = module.__file__ or module.__name__
    classes = [value for value in vars(module).values() if _is_recipe_class(value, module)]
    if len(classes) != 1:
        count = "no class" if not classes else "more than one class"
        raise ConfigError(f"{location} holds {count} that extends {RECIPE_BASE}: one is needed.")
    recipe_class: type[Recipe[Any]] = classes[0]
    abstract = recipe_class.__abstractmethods__
    missing = [name for name in REQUIRED_MEMBERS if not hasattr(recipe_class, name) or name in abstract]
    if missing:
        raise ConfigError(
            f"{location}: {recipe_class.__name__} lacks {', '.join(missing)}; a recipe has"
            f" {', '.join(REQUIRED_MEMBERS[:-1])} and {REQUIRED_MEMBERS[-1]}."
        )
    return recipe_class


def _is_recipe_class(value: object, module: types.ModuleType) -> bool:
    """Whether a module defines this class and it extends `Recipe`, known by name: it stands above this module."""
    return (
        isinstance(value, type)
        and value.__module__ == module.__name__
        and any(f"{base.__module__}.{base.__qualname__}" == RECIPE_BASE for base in value.__mro__)
    )
