#!/usr/bin/env python3
"""Kerasserole's command line: a thin parser over functions in common/. TensorFlow is imported only inside commands."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

try:
    import click
except ModuleNotFoundError as missing:
    sys.exit(f"The package {missing.name} is not installed here: run `make setup`, or pip install -r requirements.txt.")

import recipes
from common import __version__
from common.config import GROUPS, RunConfig
from common.config_io import as_toml
from common.errors import ConfigError
from common.options import (
    Command,
    PredictCommand,
    RecipeGroup,
    Root,
    complete_runs,
    failure,
    given,
    given_values,
    keep_traceback,
)


def _path(name: str, help: str, metavar: str = "DIR", **more: Any) -> click.Option:
    return click.Option([name], type=click.Path(path_type=Path, readable=False), help=help, metavar=metavar, **more)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="kerasserole")
@click.option(
    "--traceback", is_flag=True, expose_value=False, callback=keep_traceback, help="Show where an error arose."
)
def main() -> None:
    """Kerasserole: train, evaluate, use and export models for your own data.

    \b
    A first quarter of an hour:
      python cli.py run sentiment
      python cli.py predict RUN "a fine film"
      python cli.py export RUN --to exports/sentiment
    """


# Commands


@main.command("list", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_recipes(as_json: bool) -> None:
    """List the recipes, with their last measured scores."""
    rows = []
    for name in recipes.names():
        about = recipes.load_config(name).ABOUT
        file = recipes.HERE / name / "measured.json"
        measured = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        rows.append({"recipe": name, **vars(about), "measured": measured})
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(f"{row['recipe']}: {row['task']}, {row['input']} -> {row['output']}")
        click.echo(f"  model   {row['model']}\n  data    {row['data']}")
        click.echo(f"  scores  {row['measured'].get('summary', 'not measured')}")


def _settled(ctx: click.Context, config_class: type[RunConfig]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings given to `run`, and where each came from."""
    found = given_values(ctx, config_class, ctx.params["config"])
    if ctx.params["resume"] and ctx.params["run_dir"]:
        raise ConfigError("--resume and --run-dir both name a run: give one of them.")
    return found


def _build_run(name: str, config_class: type[RunConfig]) -> Any:
    @click.pass_context
    def command(
        ctx: click.Context,
        /,
        run_dir: Path | None,
        resume: Path | None,
        print_config: bool,
        **_: Any,
    ) -> None:
        given, origins = _settled(ctx, config_class)
        from common import workflow

        if print_config:
            old = workflow.find(name, run_dir, resume)
            merged, before = workflow.settings_of(name, given, old)
            click.echo(as_toml(merged, before | origins))
            return
        if (path := workflow.run(name, given, run_dir, resume)) is not None:  # the first of several workers tells it
            click.echo(path)

    return command


main.add_command(
    RecipeGroup(
        "run",
        build=_build_run,
        groups=GROUPS,
        extra=(
            _path("--run-dir", "Where the run is kept; go on if it is there.  [default: a new folder under runs/]"),
            _path(
                "--resume", "A run to go on with, to the result that it would have had.", shell_complete=complete_runs
            ),
            _path("--config", "Settings from a TOML file; flags win over it.", "FILE"),
            click.Option(
                ["--print-config"], is_flag=True, help="Print every setting and where it came from; do nothing."
            ),
        ),
        help="Train a recipe, evaluate it and print the run's folder.",
    )
)


def _parsed_run(ctx: click.Context, words: tuple[str, ...]) -> click.Context:
    """What `run` makes of the words that follow it; its help and its usage errors are told from here."""
    run = main.commands["run"]
    assert isinstance(run, click.Group)
    outer = run.make_context("run", list(words), parent=ctx.find_root())
    name, command, rest = run.resolve_command(outer, list(words))
    assert command is not None
    parsed = command.make_context(name, rest, parent=outer)
    _settled(parsed, recipes.load_config(words[0]).Config)
    return parsed


@main.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Start N processes here; GPUs are shared out.")
@click.option("--hosts", metavar="HOST:PORT,...", help="Start one process here; the others are on these machines.")
@click.option("--index", type=int, metavar="I", help="Which of --hosts this machine is, from 0.")
@click.option(
    "--restarts", type=click.IntRange(0), default=0, metavar="K",
    help="Go on from the last checkpoint up to K times when a process was killed.  [default: 0]",
)  # fmt: skip
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="run RECIPE [OPTIONS]")
@click.pass_context
def launch(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> None:
    """Train by several processes at once, on this machine or on several.

    \b
    Examples:
      python cli.py launch --workers 2 run sentiment
      python cli.py launch --workers 4 --restarts 3 run ner --data names.conll --run-dir runs/names
    The same on each of two machines, but for the index, which is 1 on the second one:
      python cli.py launch --hosts 10.0.0.1:2222,10.0.0.2:2222 --index 0 run sentiment --run-dir /shared/a
    """
    if words[:1] != ("run",):
        found = f'"{words[0]}" cannot be launched' if words else "There is nothing to launch"
        raise click.UsageError(f"{found}: give python cli.py launch --workers N run RECIPE [OPTIONS].")
    parsed = _parsed_run(ctx, words[1:])
    if parsed.params["print_config"]:
        parsed.command.invoke(parsed)
        return
    from common import launching

    path = parsed.params["run_dir"] or parsed.params["resume"]
    told = ("--traceback",) if ctx.find_root().meta.get("traceback") else ()
    click.echo(launching.launch((*words[1:], *told), path=path, **options), nl=False)


def _flag(setting: str, value: Any) -> list[str]:
    """A setting as it is typed."""
    name = setting.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{'' if value else 'no-'}{name}"]
    return [word for one in (value if isinstance(value, tuple) else (value,)) for word in (f"--{name}", str(one))]


def _build_check(name: str, config_class: type[RunConfig]) -> Any:
    @click.pass_context
    def command(ctx: click.Context, /, as_json: bool, config: Path | None, **_: Any) -> None:
        given, _origins = given_values(ctx, config_class, config)
        from common.quiet import import_tensorflow

        import_tensorflow()
        settled = config_class(**given)
        recipe = recipes.load(name)
        report = recipe.check(settled, recipe.load_data(settled))
        if as_json:
            click.echo(json.dumps(report, indent=1, ensure_ascii=False))
            return
        from rich.console import Console

        from common.check import lines

        Console(soft_wrap=True).print(lines(report))
        flags = [word for setting, value in given.items() for word in _flag(setting, value)]
        click.echo(f"Next: python cli.py run {shlex.join([name, *flags])}", err=True)

    return command


main.add_command(
    RecipeGroup(
        "check",
        build=_build_check,
        groups=("Model", "Data"),
        extra=(
            click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
            _path("--config", "Settings from a TOML file; flags win over it.", "FILE"),
        ),
        help="Report what the data holds and what is wrong with it, before training.",
    )
)

_trust = click.option("--trust-code", is_flag=True, help="Run the recipe's code that the run holds, if it is not ours.")
_recipe = click.option("--recipe", metavar="FOLDER", help="The recipe's folder, if it is one of your own.")
_devices = click.option(
    "--devices",
    metavar="LIST",
    help="Numbers of the GPUs that share the work, such as 0,1; or cpu:N.  [default: all GPUs]",
)
_target = click.argument(
    "target", metavar="RUN_OR_EXPORT", type=click.Path(path_type=Path, readable=False), shell_complete=complete_runs
)


@main.command(cls=Command)
@_target
@click.option(
    "--data", required=True, type=click.Path(readable=False), metavar="SRC", help="What to score on, as --data of run."
)
@click.option("--column", multiple=True, metavar="FIELD=COLUMN", help="Which column holds what; repeat for several.")
@click.option("--label-names", metavar="FILE", help="Names of labels: a code, a tab and a name on each line.")
@click.option("--encoding", metavar="NAME", help="Encoding of text files.  [default: found from the bytes]")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Use a fixed random sample of N examples only.")
@click.option("--strict", is_flag=True, help="Stop at the first broken row instead of skipping and counting it.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one flat JSON object.")
@_devices
@_recipe
@_trust
def evaluate(
    target: Path, data: str, as_json: bool, devices: str | None, recipe: str | None, trust_code: bool, **options: Any
) -> None:
    """Score a run or an export on other data.

    \b
    Examples:
      python cli.py evaluate RUN --data test.csv
      python cli.py evaluate exports/sentiment --data test.csv --json
    """
    from common.quiet import import_tensorflow

    import_tensorflow()
    from common import workflow

    measured = workflow.evaluate(target, data, options, recipe, trust_code, devices)
    if as_json:
        click.echo(json.dumps(measured, ensure_ascii=False))
        return
    for name, value in measured.items():
        if isinstance(value, int | float):
            shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
            click.echo(f"{name.replace('_', ' '):20} {shown}")
    for group in (value for name, value in measured.items() if name.startswith("per_")):
        for label, one in group.items():
            shown = ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in one.items())
            click.echo(f"  {label:18} {shown}")


@main.command(cls=PredictCommand)
@_target
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option(
    "--input",
    "source",
    type=click.Path(readable=False),
    metavar="FILE",
    help="Inputs from a file: one a line, CSV, TSV, JSON lines, Parquet, PO or MO; - is lines of stdin.",
)
@click.option("--column", multiple=True, metavar="FIELD=COLUMN", help="Which column of a table holds what.")
@click.option(
    "--encoding", metavar="NAME", help="Encoding of the input.  [default: found from the bytes; stdin is UTF-8]"
)
@click.option(
    "--format", "format_", default="json", metavar="NAME", help="json, or another that the recipe has (see its README)."
)
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Show the K largest scores only, largest first.")
@click.option("--explain", is_flag=True, help="Write IMAGE.explained.png next to each image: what made for its label.")
@click.option(
    "--explain-to",
    type=click.Path(path_type=Path, readable=False),
    metavar="DIR",
    help="Write these pictures into this folder instead.",
)
@click.option("--alignment", is_flag=True, help="Add which words of an input and of its translation belong together.")
@click.option(
    "--uncertain", type=click.IntRange(1), metavar="K",
    help="Show the K inputs most worth labelling only, the most first: uncertain ones, unlike each other.",
)  # fmt: skip
@click.option(
    "--by", type=click.Choice(("entropy", "margin")),
    help="How uncertain labels are: by all their scores, or by the first two.  [default: entropy]",
)  # fmt: skip
@_devices
@_recipe
@_trust
@click.pass_context
def predict(
    ctx: click.Context, /, target: Path, texts: tuple[str, ...], source: str | None, encoding: str | None,
    devices: str | None, recipe: str | None, trust_code: bool, column: tuple[str, ...] = (), format_: str = "json",
    top_k: int | None = None, explain: bool = False, explain_to: Path | None = None, alignment: bool = False,
    uncertain: int | None = None, by: str | None = None, **_: Any,
) -> None:  # fmt: skip
    """Predict: one JSON object a line for each input, in order.

    Recipes that make something up have options of their own, and need no input; --help after a run tells them.

    \b
    Examples:
      python cli.py predict RUN "a fine film" "a bore"
      python cli.py predict RUN --input reviews.txt
      python cli.py predict RUN --input unlabelled.csv --uncertain 50
      cat reviews.txt | python cli.py predict exports/sentiment -
      python cli.py predict RUN --help
    """
    if texts == ("-",):
        texts, source = (), "-"
    wishes = ctx.obj(**given(ctx, ctx.obj)) if ctx.obj else None
    if (texts and source) or not (texts or source or wishes):
        more = "; or none of them." if wishes else "."
        raise click.UsageError(f"Give either texts, or --input FILE, or - to read lines from stdin{more}")
    if by and not uncertain:
        raise click.UsageError("--by says how --uncertain looks for inputs: add --uncertain K, or leave it out.")
    others = {"--explain": explain, "--explain-to": explain_to, "--alignment": alignment, "--format": format_ != "json"}
    if uncertain and any(others.values()):
        flag = next(flag for flag, value in others.items() if value)
        raise click.UsageError(f"--uncertain lists inputs to label, and {flag} is of all predictions: leave one out.")
    from common.quiet import import_tensorflow

    import_tensorflow()
    from common import endpoints, predict

    served = endpoints.load(target, recipe, trust_code, devices)
    if wishes:
        bad = predict.make(served, wishes, texts, source, encoding, click.echo)
    elif uncertain:
        from common.picking import most_worth

        bad = most_worth(served, texts, source, column, encoding, click.echo, uncertain, by, top_k)
        click.echo(
            "Next: label these, add them to the examples that you have, then:"
            f" python cli.py run RECIPE --data EXAMPLES --init-from {shlex.quote(str(target))}",
            err=True,
        )
    else:
        explained = predict.Explanations(explain_to) if explain or explain_to else None
        bad = predict.predict(served, texts, source, column, encoding, click.echo, format_, top_k, explained, alignment)
    if bad:
        raise failure(f"{bad} of the inputs could not be used; the others were predicted.")


@main.command(cls=Command)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, readable=False), shell_complete=complete_runs)
@click.option(
    "--to",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, readable=False),
    help="Written as DIR/1, DIR/2, ...",
)
@_recipe
@_trust
def export(run: Path, to: Path, recipe: str | None, trust_code: bool) -> None:
    """Write a SavedModel that takes raw inputs, proved equal to the run.

    \b
    Example:
      python cli.py export runs/sentiment-20260101-120000 --to exports/sentiment
    """
    from common.quiet import import_tensorflow

    import_tensorflow(hide_gpus=True)
    from common import export as exporting

    folder = exporting.export(run, to, recipe, trust_code)
    card = json.loads((folder / "assets.extra" / "card.json").read_text(encoding="utf-8"))
    proof = card["proof"]
    click.echo(
        f"Equal to the run on {proof['inputs']:,} inputs; largest difference {proof['largest_difference']:.1e}.",
        err=True,
    )
    click.echo(f"Next, in Python:\n{exporting.example_calls(folder)}", err=True)
    click.echo(folder)


@main.command("export-predictions", cls=Command)
@_target
@click.option(
    "--input", "source", required=True, type=click.Path(readable=False), metavar="FILE",
    help="Texts to annotate, as --input of predict; - is lines of stdin.",
)  # fmt: skip
@click.option("--tool", required=True, type=click.Choice(("label-studio", "doccano")), help="Who imports them.")
@click.option(
    "--to", default="-", type=click.Path(readable=False), metavar="FILE", help="Where to write.  [default: stdout]"
)
@click.option("--from-name", metavar="NAME", help="Label Studio's tag of annotations.  [default: that of its template]")
@click.option("--to-name", metavar="NAME", help="Label Studio's tag of texts.  [default: text]")
@click.option("--column", multiple=True, metavar="FIELD=COLUMN", help="Which column of a table holds what.")
@click.option(
    "--encoding", metavar="NAME", help="Encoding of the input.  [default: found from the bytes; stdin is UTF-8]"
)
@_devices
@_recipe
@_trust
def export_predictions(
    target: Path, source: str, tool: str, to: str, column: tuple[str, ...], encoding: str | None,
    devices: str | None, recipe: str | None, trust_code: bool, **names: str | None,
) -> None:  # fmt: skip
    """Write predictions as first annotations, for people to correct in Label Studio or doccano.

    Their exports are then read by --data of run, check and evaluate.

    \b
    Examples:
      python cli.py export-predictions RUN --input texts.txt --tool label-studio --to tasks.json
      python cli.py export-predictions RUN --input texts.csv --tool doccano --to lines.jsonl
    """
    from common.quiet import import_tensorflow

    import_tensorflow()
    from common import endpoints, pre_annotation

    def emit(text: str) -> None:
        click.echo(text, nl=False)

    served = endpoints.load(target, recipe, trust_code, devices)
    bad, step = pre_annotation.export_predictions(target, served, source, column, encoding, tool, to, emit, **names)
    click.echo(step, err=True)
    if bad:
        raise failure(f"{bad} of the inputs could not be used; the others were written.")


@main.command(cls=Command)
@click.argument("recipe")
@click.argument("folder", type=click.Path(path_type=Path, readable=False))
def copy(recipe: str, folder: Path) -> None:
    """Copy a recipe to a folder of your own, to change it.

    \b
    Example:
      python cli.py copy sentiment mine
      python cli.py run ./mine
    """
    from common.copying import copy_recipe

    copy_recipe(recipe, folder)
    shown = folder if folder.is_absolute() else f"./{folder}"
    click.echo(f"Next: change {shown}/model.py, then: python cli.py run {shown}", err=True)
    click.echo(folder)


@main.command(cls=Command)
@click.argument("recipe")
@click.argument("folder", required=False, type=click.Path(path_type=Path, readable=False))
def init(recipe: str, folder: Path | None) -> None:
    """Write a config that names every setting, and small files in each format that a recipe takes.

    They go into FOLDER, else into a new folder here that is named by the recipe, such as sentiment-data. Nothing that
    is there is overwritten.

    \b
    Examples:
      python cli.py init sentiment
      python cli.py init ner mine
      python cli.py init sentiment .
    """
    from common.starting import begin

    folder, config, sources = begin(recipe, folder)
    told = "; and examples, the same in each of these:" if sources else "."
    click.echo(f"Written: {config}, which names every setting{told}", err=True)
    for words in sources:
        click.echo(f"  {shlex.join(words)}", err=True)
    data = sources[0] if sources else ["--data", "YOURS"]
    click.echo(f"Next:\n  python cli.py check {shlex.join([recipe, *data])}", err=True)
    click.echo(f"  python cli.py run {shlex.join([recipe, '--config', str(config), *data])}", err=True)
    click.echo(folder)


@main.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Tell versions, devices, which LSTM kernel runs, and what is missing."""
    from common.doctor import examine

    facts, faults = examine()
    if as_json:
        click.echo(json.dumps({"facts": facts, "faults": faults}, indent=1))
    else:
        for name, value in facts.items():
            click.echo(f"{name:14} {value}")
        for fault in faults:
            click.echo(f"Missing: {fault}", err=True)
    if faults:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main(prog_name="cli.py")
