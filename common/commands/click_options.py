"""Click's part: options out of a config's fields, errors as one sentence, and the options of several commands."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from common.config import ConfigFieldSpec, RunConfig, get_config_fields, validate_config_values
from common.config_io import load_toml
from common.errors import (
    LOST,
    ConfigError,
    DataError,
    Interrupted,
    RunError,
    TrainingError,
    WorkerLostError,
    did_you_mean,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

FILE, PATH = click.Path(readable=False), click.Path(path_type=Path, readable=False)
HEADINGS = {
    "Prediction": "What is made",
    "Model": "Model",
    "Data": "Data",
    "Training": "Training",
    "Fine-tuning": "Fine-tuning",
    "Other": "Other options",
}


def _give_up_stdout() -> None:
    """What is left to be written goes nowhere, else Python tries again at its end and changes the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_click_error(message: str) -> click.ClickException:
    """Make an error of exit status 1, on one line."""
    return click.ClickException(" ".join(message.split("\n")))


def _to_click_error(error: BaseException) -> click.ClickException | click.exceptions.Exit | None:
    """What Click shows in place of an error: one sentence and an exit status; None for what must pass through."""
    if isinstance(error, ConfigError):
        return click.UsageError(str(error))
    if isinstance(error, DataError | RunError | TrainingError | Interrupted):
        return make_click_error(str(error))
    if isinstance(error, WorkerLostError):
        return RetryableError(str(error))
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return make_click_error("Stopped.")
    if isinstance(error, BrokenPipeError):  # the reader of our output has enough, as `head` does
        return click.exceptions.Exit(1)
    if isinstance(error, ModuleNotFoundError):
        return make_click_error(f"The package {error.name} is not installed here: run make setup.")
    if isinstance(error, OSError) and error.strerror:
        return make_click_error(
            f"{error.filename or 'A file'}: {error.strerror}. Check the path, space and permissions."
        )
    if isinstance(error, Exception):
        return make_click_error(
            f"Something unforeseen went wrong ({type(error).__name__}: {str(error)[:300]})."
            " Give --traceback to see where, and please report it."
        )
    return None


def _settle_stdout(error: OSError) -> None:
    """Writes what is left of our output, or gives it up where that cannot be."""
    if isinstance(error, BrokenPipeError):
        _give_up_stdout()
    elif error.strerror:
        try:
            sys.stdout.flush()
        except OSError:
            _give_up_stdout()


@contextmanager
def as_usage_error() -> Iterator[None]:
    """Show a ConfigError within the block with the usage of the command."""
    try:
        yield
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


class RetryableError(click.ClickException):
    """A failure that was another process's, so that the same command may do better."""

    exit_code = LOST


class ErrorHandlingGroup(click.Group):
    """Turns what goes wrong inside into one sentence and an exit status: 2 for usage, 1 for failure, 75 try again."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk is told here, not after the exit status is settled
            return result
        except (click.ClickException, click.exceptions.Exit):
            raise
        except BaseException as error:
            if ctx.find_root().meta.get("traceback"):
                traceback.print_exc()
            if isinstance(error, OSError):
                _settle_stdout(error)
            if (replacement := _to_click_error(error)) is None:
                raise
            raise replacement from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in self.commands:
            raise click.UsageError(f'There is no command "{name}".{did_you_mean(name, self.commands)}', ctx)
        return super().resolve_command(ctx, args)


def enable_traceback(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta["traceback"] = True


class GroupedCommand(click.Command):
    """A command whose options stand under headings, with --traceback."""

    def __init__(self, *args: Any, **kwargs: Any):  # Click's
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--traceback"],
                is_flag=True,
                expose_value=False,
                callback=enable_traceback,
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


class ChoiceWithReasons(click.Choice[str]):
    """One of some words; some others are refused with a reason of their own."""

    def __init__(self, choices: Sequence[str], refused: Mapping[str, str]):
        super().__init__(choices)
        self.refused = refused

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        reason = self.refused.get(str(value).lower().replace("_", "-"))
        if reason:
            self.fail(f"{value!r} cannot be used: {reason}", param, ctx)
        return super().convert(value, param, ctx)


class ConfigOption(click.Option):
    """A config field as an option."""

    def __init__(self, setting: ConfigFieldSpec):
        metadata = setting.metadata
        is_switch = setting.type is bool
        super().__init__(
            [f"{setting.flag}/--no-{setting.flag[2:]}" if is_switch else setting.flag, setting.name],
            type=_choose_click_type(setting),
            multiple=setting.is_list,
            default=None,
            help=_format_help(setting),
            metavar=metadata["metavar"],
            show_default=False,
        )
        self.group = metadata["group"]


def _choose_click_type(setting: ConfigFieldSpec) -> click.ParamType | type:
    """What checks the value of a setting as it is typed."""
    metadata, kind = setting.metadata, setting.type
    if kind is bool:
        return bool
    if metadata["metavar"] == "SRC":
        return FILE  # so that the shell completes file names
    if metadata["choices"]:
        return ChoiceWithReasons(metadata["choices"], metadata["refused"])
    if kind not in (int, float):
        return kind
    low_open, high_open = metadata["above"] is not None, metadata["below"] is not None
    low = metadata["above"] if low_open else metadata["low"]
    high = metadata["below"] if high_open else metadata["high"]
    if (low, high) == (None, None):
        return kind
    if kind is int:
        return click.IntRange(low, high)
    return click.FloatRange(low, high, min_open=low_open, max_open=high_open)


def _format_help(setting: ConfigFieldSpec) -> str:
    """The help of a setting, and its default."""
    metadata = setting.metadata
    if setting.type is bool:
        return f"{metadata['help']}  [default: {'on' if setting.default else 'off'}]"
    default = metadata["shown"] or (", ".join(setting.default) if setting.is_list else setting.default)
    return metadata["help"] + (f"  [default: {default}]" if default not in (None, "") else "")


def get_explicit_options(ctx: click.Context, config_class: type[RunConfig]) -> dict[str, Any]:
    """Return the config values that stand on the command line."""
    names = get_config_fields(config_class)
    values = {n: v for n, v in ctx.params.items() if n in names}
    typed = {n: v for n, v in values.items() if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE}
    return validate_config_values(config_class, typed, "command line")


def merge_file_and_flags(
    ctx: click.Context, config_class: type[RunConfig], file: Path | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return (values, where each came from); flags win over the file."""
    values = load_toml(config_class, file) if file else {}
    origins = dict.fromkeys(values, str(file))
    flags = get_explicit_options(ctx, config_class)
    return values | flags, origins | dict.fromkeys(flags, "flag")


def complete_run_paths(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Return for the shell runs and exports where they are kept by default, else files."""
    from click.shell_completion import CompletionItem

    paths = sorted(str(p) for top in ("runs", "exports") for p in Path(top).glob("*") if str(p).startswith(typed))
    return [CompletionItem(path) for path in paths] or [CompletionItem(typed, type="file")]


def make_path_option(
    name: str,
    help: str,
    metavar: str = "DIR",
    shell_complete: Callable[[click.Context, click.Parameter, str], list[CompletionItem]] | None = None,
) -> click.Option:
    """Make an option that takes a path."""
    return click.Option([name], type=PATH, help=help, metavar=metavar, shell_complete=shell_complete)


# Arguments and options of several commands

target_argument = click.argument("target", metavar="RUN_OR_EXPORT", type=PATH, shell_complete=complete_run_paths)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
trust_option = click.option(
    "--trust-code", is_flag=True, help="Run the recipe's code that the run holds, if it is not ours."
)
recipe_option = click.option("--recipe", metavar="FOLDER", help="The recipe's folder, if it is one of your own.")
column_option = click.option(
    "--column", multiple=True, metavar="FIELD=COLUMN", help="Which column of a table holds what."
)
encoding_option = click.option(
    "--encoding", metavar="NAME", help="Encoding of the input.  [default: found from the bytes; stdin is UTF-8]"
)
devices_option = click.option(
    "--devices",
    metavar="LIST",
    help="Numbers of the GPUs that share the work, such as 0,1; or cpu:N.  [default: all GPUs]",
)
