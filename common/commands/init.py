"""What a person begins with: a config that names every setting, and small files in each format that a recipe takes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from common.config import GROUPS, ConfigFieldSpec, ConfigType, get_config_fields
from common.discovery import import_recipe_module, load_recipe_config, recipe_dir
from common.errors import RunError
from common.runtime.atomic_io import atomic_write

INSTANCE = re.compile(r"such as ([^\s;]+?)[.,;]?(\s|$)")  # what the help of a setting gives as one
NUMBER = 10  # shown for a setting without a default


def _example_value(setting: ConfigFieldSpec) -> object:
    """What stands behind the name of a setting: its default, or a value that it may have."""
    if setting.is_list:
        return list(setting.default)
    if setting.default is not None:
        return setting.default
    limits = setting.metadata
    if limits["choices"]:
        return limits["choices"][0]
    if setting.type in (int, float):
        number = max(NUMBER, limits["low"] or 0)
        return setting.type(number if limits["high"] is None else min(number, limits["high"]))
    instance = INSTANCE.search(limits["help"])
    return instance[1] if instance else limits["metavar"] or "TEXT"


def _describe_values(setting: ConfigFieldSpec) -> str:
    """Which values a setting takes, and its default."""
    limits = setting.metadata
    bounds = [
        f"{word} {limits[name]}"
        for name, word in (("low", "from"), ("above", "above"), ("high", "to"), ("below", "below"))
        if limits[name] is not None
    ]
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    kind = f"one of {', '.join(limits['choices'])}" if limits["choices"] else " ".join([kinds[setting.type], *bounds])
    if setting.is_list:
        kind = f"a list, each {kind}"
    default = limits["shown"] or ("not set" if setting.default in (None, ()) else json.dumps(setting.default))
    return f"{kind}; default: {default}"


def make_config_template(config_class: ConfigType) -> str:
    r"""Return a TOML file with every setting, its help and what it may be, commented out, for --config.

    Lines of settings begin with "# ", all others with "##", so that an editor that takes one # from each line turns on
    all settings, each at its default where it has one.

    >>> from common.config import RunConfig
    >>> print(next(block for block in make_config_template(RunConfig).split("\n\n") if "# warmup_ratio" in block))
    ## Share of the training over which the learning rate rises from 0.
    ## (a number from 0 below 1; default: 0.1)
    # warmup_ratio = 0.1
    """
    grouped: dict[str, list[ConfigFieldSpec]] = {group: [] for group in GROUPS}
    for setting in get_config_fields(config_class).values():
        grouped.setdefault(setting.metadata["group"], []).append(setting)
    blocks = ['## What begins with "# " is a setting at its default: take away the # to change it.']
    for group, members in grouped.items():
        if members:
            blocks.append(f"#### {group}")
        for setting in members:
            line = f"# {setting.name} = {json.dumps(_example_value(setting), ensure_ascii=False)}"
            blocks.append(f"## {setting.metadata['help']}\n## ({_describe_values(setting)})\n{line}")
    return "\n\n".join(blocks)


def init_project(recipe: str, folder: Path | None) -> tuple[Path, Path, list[list[str]]]:
    """Write a config and samples; return the folder, the config and the flags that name each sample.

    Args:
      folder: where; None for a new one named by the recipe.

    Raises:
      ConfigError: there is no such recipe.
      RunError: a file is there already, or the folder cannot be made; nothing is written then.
    """
    name = recipe_dir(recipe).name
    folder = folder or Path(f"{name}-data")
    config = folder / f"{name}.toml"
    files = {config.name: (make_config_template(load_recipe_config(recipe).Config) + "\n").encode()}
    sources: tuple[str, ...] = ()  # flags, {} being the folder
    if (recipe_dir(recipe) / "samples.py").is_file():
        samples = import_recipe_module(recipe, "samples")
        files |= samples.files()
        sources = samples.SOURCES
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file. Name a folder.")
    for path in (folder / file for file in files):
        if path.exists() or path.is_symlink():
            raise RunError(f"{path} is there already, and nothing is overwritten. Name another folder.")
    for file_name, content in files.items():
        path = folder / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)
    return folder, config, [[word.replace("{}", str(folder)) for word in source.split()] for source in sources]


def format_next_steps(recipe: str, config: Path, sources: list[list[str]]) -> str:
    """Format what was written, and the commands that use it, for people."""
    ending = "; and examples, the same in each of these:" if sources else "."
    data = sources[0] if sources else ["--data", "YOURS"]
    return "\n".join(
        [
            f"Written: {config}, which names every setting{ending}",
            *(f"  {shlex.join(words)}" for words in sources),
            f"Next:\n  python cli.py check {shlex.join([recipe, *data])}",
            f"  python cli.py run {shlex.join([recipe, '--config', str(config), *data])}",
        ]
    )
