"""The options of `predict`, which for a recipe that generates are its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import click

from common.commands.click_options import FILE, PATH, ConfigOption, GroupedCommand, column_option, encoding_option
from common.config import ConfigType, get_config_fields
from common.discovery import list_recipes, load_recipe_config
from common.errors import ConfigError

Callback = TypeVar("Callback", bound=Callable[..., None])


class PredictCommand(GroupedCommand):
    """A command on a run or an export; the fields of its recipe's `GenerationConfig`, if any, are its options."""

    shared = ("target", "texts", "source", "encoding", "devices", "recipe", "trust_code", "traceback")

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        parameters = super().get_params(ctx)
        if ctx.obj is None:
            return parameters
        own: list[click.Parameter] = [ConfigOption(setting) for setting in get_config_fields(ctx.obj).values()]
        of_predictions = {id(parameter) for parameter in self.params if parameter.name not in self.shared}
        return [parameter for parameter in parameters if id(parameter) not in of_predictions] + own

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = find_predict_config(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name in (flag for parameter in self.params for flag in parameter.opts):
                raise click.UsageError(
                    f"{error.option_name} is of predictions, and this recipe makes something up: leave it out.", ctx
                ) from None
            raise


def find_predict_config(args: Sequence[str]) -> ConfigType | None:
    """Return `GenerationConfig` of the recipe by which the first run or export among the words was made, or None.

    A recipe of one's own is read only where --recipe names it.
    """
    recipe_path = next((after for word, after in pairwise(args) if word == "--recipe"), None)
    for word in args:
        for file in _list_metadata_files(Path(word)):
            try:
                name = recipe_path or json.loads(file.read_text(encoding="utf-8"))["recipe"]
                if not recipe_path and name not in list_recipes():
                    return None
                return getattr(load_recipe_config(name), "GenerationConfig", None)
            except (OSError, ValueError, KeyError, TypeError, ConfigError):  # told when it is opened
                continue
    return None


def _list_metadata_files(folder: Path) -> list[Path]:
    """Where a run or an export, by itself or its latest version, tells its recipe."""
    try:
        versions = sorted(folder.glob("[0-9]*/assets.extra/config.json"), key=lambda path: path.parts[-3].zfill(20))
    except (OSError, ValueError):  # no name of a folder, such as a long text
        return []
    return [folder / "config.json", folder / "assets.extra" / "config.json", *versions[-1:]]


def predict_options(callback: Callback) -> Callback:
    """Add the options that say what is predicted and how it is written; their names are `PredictRequest`'s."""
    for option in reversed(_OPTIONS):
        callback = option(callback)
    return callback


_OPTIONS = (
    click.option(
        "--input",
        "source",
        type=FILE,
        metavar="FILE",
        help="Inputs from a file: one a line, CSV, TSV, JSON lines, Parquet, PO or MO; - is lines of stdin.",
    ),
    column_option,
    encoding_option,
    click.option(
        "--format", default="json", metavar="NAME", help="json, or another that the recipe has (see its README)."
    ),
    click.option(
        "--top-labels",
        type=click.IntRange(1),
        metavar="K",
        help="Show the K labels with the largest scores only, largest first.",
    ),
    click.option(
        "--explain", is_flag=True, help="Write IMAGE.explained.png next to each image: what made for its label."
    ),
    click.option(
        "--explain-dir", "explain_dir", type=PATH, metavar="DIR", help="Write these pictures into this folder instead."
    ),
    click.option(
        "--alignment", is_flag=True, help="Add which words of an input and of its translation belong together."
    ),
    click.option(
        "--select-uncertain",
        "select_uncertain",
        type=click.IntRange(1),
        metavar="K",
        help="Show the K inputs most worth labelling only, the most first: uncertain ones, unlike each other.",
    ),
    click.option(
        "--uncertainty",
        "uncertainty",
        type=click.Choice(("entropy", "margin")),
        help="How uncertain labels are: by all their scores, or by the first two.  [default: entropy]",
    ),
)
