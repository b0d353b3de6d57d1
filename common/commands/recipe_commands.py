"""The commands with one subcommand a recipe: run and check."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import click

from common.commands.click_options import (
    ConfigOption,
    GroupedCommand,
    complete_run_paths,
    make_path_option,
    merge_file_and_flags,
)
from common.commands.command_output import format_flags
from common.config import GROUPS, RunConfig, get_config_fields
from common.config_io import config_to_toml
from common.discovery import list_recipes, load_recipe, load_recipe_config
from common.errors import ConfigError

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


class RecipeGroup(click.Group):
    """A command with one subcommand a recipe, made from its config when asked for."""

    def __init__(
        self,
        name: str,
        *,
        build: Callable[[str, type[RunConfig]], Callable[..., None]],
        groups: tuple[str, ...],
        extra: tuple[click.Option, ...],
        help: str,
    ):
        super().__init__(name, subcommand_metavar="RECIPE [OPTIONS]", help=help)
        self.build, self.groups, self.extra = build, groups, extra

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list_recipes()

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        try:
            module = load_recipe_config(name)
        except ConfigError as error:
            raise click.UsageError(str(error), ctx) from None
        about = module.ABOUT
        verb = self.name or ""
        example, suffix = f"python cli.py {verb} {name}", about.example_data.rpartition(".")[2]
        return GroupedCommand(
            name,
            callback=self.build(name, module.Config),
            params=[*_make_config_options(module.Config, self.groups), *self.extra],
            short_help=f"{about.task}: {about.input} to {about.output}.",
            help=f"{about.task}: {about.input} to {about.output}, by a {about.model}.\n\n\b\nExamples:\n"
            + "\n".join(
                f"  {example}{flags.format(own=about.example_data, suffix=suffix)}" for flags in EXAMPLES[verb]
            ),
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Recipes"):
            rows = [(name, self.get_command(ctx, name).get_short_help_str(80)) for name in self.list_commands(ctx)]
            formatter.write_dl([*rows, ("./FOLDER", "A recipe of your own; see the copy command.")])


def _make_config_options(config_class: type[RunConfig], groups: tuple[str, ...]) -> list[click.Parameter]:
    return [ConfigOption(s) for s in get_config_fields(config_class).values() if s.metadata["group"] in groups]


_config = make_path_option("--config", "Settings from a TOML file; flags win over it.", "FILE")


def _resolve_settings(ctx: click.Context, config_class: type[RunConfig]) -> tuple[dict[str, object], dict[str, str]]:
    """The settings given to `run`, and where each came from."""
    settings = merge_file_and_flags(ctx, config_class, ctx.params["config"])
    if ctx.params["resume"] and ctx.params["run_dir"]:
        raise ConfigError("--resume and --run-dir both name a run: give one of them.")
    return settings


def _build_run(name: str, config_class: type[RunConfig]) -> Callable[..., None]:
    @click.pass_context
    def command(
        ctx: click.Context, /, run_dir: Path | None, resume: Path | None, print_config: bool, **_: object
    ) -> None:
        explicit, origins = _resolve_settings(ctx, config_class)
        from common.commands.run import find_run_to_resume, resolve_settings, run

        if print_config:
            config, origins_of_defaults = resolve_settings(name, explicit, find_run_to_resume(name, run_dir, resume))
            click.echo(config_to_toml(config, origins_of_defaults | origins))
            return
        if (path := run(name, explicit, run_dir, resume)) is not None:  # the first of several workers tells it
            click.echo(path)

    return command


run_group = RecipeGroup(
    "run",
    build=_build_run,
    groups=GROUPS,
    extra=(
        make_path_option(
            "--run-dir", "Where the run is kept; go on if it is there.  [default: a new folder under runs/]"
        ),
        make_path_option(
            "--resume", "A run to go on with, to the result that it would have had.", shell_complete=complete_run_paths
        ),
        _config,
        click.Option(["--print-config"], is_flag=True, help="Print every setting and where it came from; do nothing."),
    ),
    help="Train a recipe, evaluate it and print the run's folder.",
)


def parse_run(ctx: click.Context, words: tuple[str, ...]) -> click.Context:
    """Parse what follows `run` on the command line, so that its help and its usage errors are told at once."""
    outer = run_group.make_context("run", list(words), parent=ctx.find_root())
    name, command, rest = run_group.resolve_command(outer, list(words))
    assert command is not None
    parsed = command.make_context(name, rest, parent=outer)
    _resolve_settings(parsed, load_recipe_config(words[0]).Config)
    return parsed


def _build_check(name: str, config_class: type[RunConfig]) -> Callable[..., None]:
    @click.pass_context
    def command(ctx: click.Context, /, as_json: bool, config: Path | None, **_: object) -> None:
        explicit, _origins = merge_file_and_flags(ctx, config_class, config)
        from common.runtime.tensorflow_setup import import_tensorflow

        import_tensorflow()
        settled = config_class(**explicit)
        recipe = load_recipe(name)
        report = recipe.check_data(settled, recipe.load_data(settled))
        if as_json:
            click.echo(json.dumps(report, indent=1, ensure_ascii=False))
            return
        from rich.console import Console

        from common.data.check_common import format_data_report

        Console(soft_wrap=True).print(format_data_report(report))
        click.echo(f"Next: python cli.py run {shlex.join([name, *format_flags(explicit)])}", err=True)

    return command


check_group = RecipeGroup(
    "check",
    build=_build_check,
    groups=("Model", "Data"),
    extra=(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."), _config),
    help="Report what the data holds and what is wrong with it, before training.",
)
