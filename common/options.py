"""Click's part: options out of a config's fields, recipes as subcommands, errors as one sentence."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import recipes
from common.config import RunConfig, Setting, checked, settings
from common.config_io import from_file
from common.errors import LOST, ConfigError, DataError, PeersLost, RunError, Stopped, TrainingError, suggestion

HEADINGS = {
    "Prediction": "What is made", "Model": "Model", "Data": "Data", "Training": "Training",
    "Fine-tuning": "Fine-tuning", "Other": "Other options",
}  # fmt: skip


EXAMPLES = {
    "run": (
        "",
        " --data {own} --epochs 10",
        " --data train.{suffix} --valid dev.{suffix} --max-minutes 10",
        " --data {own} --init-from RUN",
        " --resume RUN",
    ),
    "check": (" --data {own}", " --data train.{suffix} --test test.{suffix} --json"),
}


def _give_up_stdout() -> None:
    """What is left to be written goes nowhere, else Python tries again at its end and changes the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def failure(message: str) -> click.ClickException:
    return click.ClickException(" ".join(message.split("\n")))


class TryAgain(click.ClickException):
    """A failure that was another process's, so that the same command may do better."""

    exit_code = LOST


class Root(click.Group):
    """Turns what goes wrong inside into one sentence and an exit status: 2 for usage, 1 for failure, 75 try again."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk is told here, not after the exit status is settled
            return result
        except (click.ClickException, click.exceptions.Exit):
            raise
        except BaseException as error:
            if ctx.find_root().meta.get("traceback"):
                traceback.print_exc()
            if isinstance(error, ConfigError):
                raise click.UsageError(str(error)) from None
            if isinstance(error, DataError | RunError | TrainingError | Stopped):
                raise failure(str(error)) from None
            if isinstance(error, PeersLost):
                raise TryAgain(str(error)) from None
            if isinstance(error, KeyboardInterrupt | click.Abort):
                raise failure("Stopped.") from None
            if isinstance(error, BrokenPipeError):  # the reader of our output has enough, as `head` does
                _give_up_stdout()
                raise click.exceptions.Exit(1) from None
            if isinstance(error, ModuleNotFoundError):
                raise failure(f"The package {error.name} is not installed here: run make setup.") from None
            if isinstance(error, OSError) and error.strerror:
                try:
                    sys.stdout.flush()
                except OSError:
                    _give_up_stdout()
                raise failure(
                    f"{error.filename or 'A file'}: {error.strerror}. Check the path, space and permissions."
                ) from None
            if isinstance(error, Exception):
                raise failure(
                    f"Something unforeseen went wrong ({type(error).__name__}: {str(error)[:300]})."
                    " Give --traceback to see where, and please report it."
                ) from None
            raise

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if not name.startswith("-") and name not in self.commands:
            raise click.UsageError(f'There is no command "{name}".{suggestion(name, self.commands)}', ctx)
        return super().resolve_command(ctx, args)


def keep_traceback(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta["traceback"] = True


class Command(click.Command):
    """A command whose options stand under headings, with --traceback."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--traceback"],
                is_flag=True,
                expose_value=False,
                callback=keep_traceback,
                help="Show where an error arose.",
            )
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        grouped: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and not isinstance(parameter, click.Argument):  # which the usage line tells
                grouped.setdefault(getattr(parameter, "group", "Other"), []).append(record)
        for group in HEADINGS:
            if group in grouped:
                with formatter.section(HEADINGS[group]):
                    formatter.write_dl(grouped[group])


class Choice(click.Choice[str]):
    """One of some words; some others are refused with a reason of their own."""

    def __init__(self, choices: Sequence[str], refused: Mapping[str, str]):
        super().__init__(choices)
        self.refused = refused

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        reason = self.refused.get(str(value).lower().replace("_", "-"))
        if reason:
            self.fail(f"{value!r} cannot be used: {reason}", param, ctx)
        return super().convert(value, param, ctx)


class ConfigOption(click.Option):
    """A config field as an option."""

    def __init__(self, setting: Setting):
        limits = setting.metadata
        names = [setting.flag]
        kind: Any = setting.type
        if kind is bool:
            names = [f"{setting.flag}/--no-{setting.flag[2:]}"]
        elif limits["metavar"] == "SRC":
            kind = click.Path(readable=False)  # so that the shell completes file names
        elif limits["choices"]:
            kind = Choice(limits["choices"], limits["refused"])
        elif kind in (int, float):
            low, high = limits["low"], limits["high"]
            low, low_open = (limits["above"], True) if limits["above"] is not None else (low, False)
            high, high_open = (limits["below"], True) if limits["below"] is not None else (high, False)
            ranges = click.IntRange if kind is int else click.FloatRange
            open_ends = {} if kind is int else {"min_open": low_open, "max_open": high_open}
            kind = ranges(low, high, **open_ends) if (low, high) != (None, None) else kind
        shown = limits["shown"] or (", ".join(setting.default) if setting.many else setting.default)
        if kind is bool:
            help_text = limits["help"] + f"  [default: {'on' if setting.default else 'off'}]"
        else:
            help_text = limits["help"] + (f"  [default: {shown}]" if shown not in (None, "") else "")
        super().__init__(
            [*names, setting.name], type=kind, multiple=setting.many, default=None, help=help_text,
            metavar=limits["metavar"], show_default=False,
        )  # fmt: skip
        self.group = limits["group"]


def _config_options(config_class: type[RunConfig], groups: tuple[str, ...]) -> list[click.Parameter]:
    return [ConfigOption(s) for s in settings(config_class).values() if s.metadata["group"] in groups]


def given(ctx: click.Context, config_class: type[RunConfig]) -> dict[str, Any]:
    """The config values that stand on the command line."""
    names = settings(config_class)
    values = {n: v for n, v in ctx.params.items() if n in names}
    typed = {n: v for n, v in values.items() if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE}
    return checked(config_class, typed, "command line")


def given_values(
    ctx: click.Context, config_class: type[RunConfig], file: Path | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """(values, where each came from); flags win over the file."""
    values = from_file(config_class, file) if file else {}
    origins = dict.fromkeys(values, str(file))
    flags = given(ctx, config_class)
    return values | flags, origins | dict.fromkeys(flags, "flag")


class PredictCommand(Command):
    """A command on a run or an export; if its recipe has `Wishes`, these are its options, beside the shared ones."""

    shared = ("target", "texts", "source", "encoding", "devices", "recipe", "trust_code", "traceback")

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        found = super().get_params(ctx)
        if ctx.obj is None:
            return found
        own: list[click.Parameter] = [ConfigOption(setting) for setting in settings(ctx.obj).values()]
        return [one for one in found if one not in self.params or one.name in self.shared] + own

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = wishes_of(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name in (flag for one in self.params for flag in one.opts):
                raise click.UsageError(
                    f"{error.option_name} is of predictions, and this recipe makes something up: leave it out.", ctx
                ) from None
            raise


def wishes_of(args: Sequence[str]) -> Any:
    """The class `Wishes` of the recipe by which the first run or export among the words was made, or None.

    A recipe of one's own is read only where --recipe names it.
    """
    named = next((after for word, after in pairwise(args) if word == "--recipe"), None)
    for word in args:
        for about in _about(Path(word)):
            try:
                name = named or json.loads(about.read_text(encoding="utf-8"))["recipe"]
                return getattr(recipes.load_config(name), "Wishes", None) if named or name in recipes.names() else None
            except (OSError, ValueError, KeyError, TypeError, ConfigError):  # told when it is opened
                continue
    return None


def _about(folder: Path) -> list[Path]:
    """Where a run or an export, by itself or its latest version, tells its recipe."""
    try:
        versions = sorted(folder.glob("[0-9]*/assets.extra/config.json"), key=lambda one: one.parts[-3].zfill(20))
    except (OSError, ValueError):  # no name of a folder, such as a long text
        return []
    return [folder / "config.json", folder / "assets.extra" / "config.json", *versions[-1:]]


def complete_runs(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[Any]:
    """For the shell: runs and exports where they are kept by default, else files."""
    from click.shell_completion import CompletionItem

    found = sorted(str(p) for top in ("runs", "exports") for p in Path(top).glob("*") if str(p).startswith(typed))
    return [CompletionItem(path) for path in found] or [CompletionItem(typed, type="file")]


class RecipeGroup(click.Group):
    """A command with one subcommand a recipe, made from its config when asked for."""

    def __init__(self, *args: Any, build: Any, groups: tuple[str, ...], extra: tuple[click.Option, ...], **kwargs: Any):
        kwargs["subcommand_metavar"] = "RECIPE [OPTIONS]"
        super().__init__(*args, **kwargs)
        self.build, self.groups, self.extra = build, groups, extra

    def list_commands(self, ctx: click.Context) -> list[str]:
        return recipes.names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        try:
            module = recipes.load_config(name)
        except ConfigError as error:
            raise click.UsageError(str(error), ctx) from None
        about = module.ABOUT
        verb = self.name or ""
        example, suffix = f"python cli.py {verb} {name}", about.own_data.rpartition(".")[2]
        return Command(
            name,
            callback=self.build(name, module.Config),
            params=[*_config_options(module.Config, self.groups), *self.extra],
            short_help=f"{about.task}: {about.input} to {about.output}.",
            help=f"{about.task}: {about.input} to {about.output}, by a {about.model}.\n\n\b\nExamples:\n"
            + "\n".join(f"  {example}{more.format(own=about.own_data, suffix=suffix)}" for more in EXAMPLES[verb]),
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Recipes"):
            rows = [(name, self.get_command(ctx, name).get_short_help_str(80)) for name in self.list_commands(ctx)]
            formatter.write_dl([*rows, ("./FOLDER", "A recipe of your own; see the copy command.")])
