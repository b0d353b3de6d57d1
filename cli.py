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

from common import __version__
from common.commands.click_options import (
    FILE,
    PATH,
    ErrorHandlingGroup,
    GroupedCommand,
    as_usage_error,
    column_option,
    complete_run_paths,
    devices_option,
    enable_traceback,
    encoding_option,
    get_explicit_options,
    json_option,
    make_click_error,
    recipe_option,
    target_argument,
    trust_option,
)
from common.commands.command_output import collect_recipe_facts, format_evaluation, format_recipes
from common.commands.predict_options import PredictCommand, predict_options
from common.commands.recipe_commands import check_group, parse_run, run_group
from common.inference.predict_request import PredictRequest


@click.group(cls=ErrorHandlingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="kerasserole")
@click.option(
    "--traceback", is_flag=True, expose_value=False, callback=enable_traceback, help="Show where an error arose."
)
def main() -> None:
    """Kerasserole: train, evaluate, use and export models for your own data.

    \b
    A first quarter of an hour:
      python cli.py run sentiment
      python cli.py predict RUN "a fine film"
      python cli.py export RUN --output-dir exports/sentiment
    """


# Commands

main.add_command(run_group)
main.add_command(check_group)


@main.command("list", cls=GroupedCommand)
@json_option
def list_recipes(as_json: bool) -> None:
    """List the recipes, with their last measured scores."""
    facts = collect_recipe_facts()
    click.echo(json.dumps(facts, indent=1) if as_json else format_recipes(facts))


@main.command(cls=GroupedCommand, context_settings={"allow_interspersed_args": False})
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Start N processes here; GPUs are shared out.")
@click.option("--hosts", metavar="HOST:PORT,...", help="Start one process here; the others are on these machines.")
@click.option("--worker-index", type=int, metavar="I", help="Which of --hosts this machine is, from 0.")
@click.option(
    "--max-restarts",
    type=click.IntRange(0),
    default=0,
    metavar="K",
    help="Go on from the last checkpoint up to K times when a process was killed.  [default: 0]",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="run RECIPE [OPTIONS]")
@click.pass_context
def launch(
    ctx: click.Context,
    words: tuple[str, ...],
    workers: int | None,
    hosts: str | None,
    worker_index: int | None,
    max_restarts: int,
) -> None:
    """Train by several processes at once, on this machine or on several.

    \b
    Examples:
      python cli.py launch --workers 2 run sentiment
      python cli.py launch --workers 4 --max-restarts 3 run ner --data names.conll --run-dir runs/names
    The same on each of two machines, but for the index, which is 1 on the second one:
      python cli.py launch --hosts 10.0.0.1:2222,10.0.0.2:2222 --worker-index 0 run sentiment --run-dir /shared/a
    """
    if words[:1] != ("run",):
        problem = f'"{words[0]}" cannot be launched' if words else "There is nothing to launch"
        raise click.UsageError(f"{problem}: give python cli.py launch --workers N run RECIPE [OPTIONS].")
    parsed = parse_run(ctx, words[1:])
    if parsed.params["print_config"]:
        parsed.command.invoke(parsed)
        return
    from common.commands.launch import launch as launch_workers

    path = parsed.params["run_dir"] or parsed.params["resume"]
    traceback = ("--traceback",) if ctx.find_root().meta.get("traceback") else ()
    click.echo(launch_workers((*words[1:], *traceback), workers, hosts, worker_index, max_restarts, path), nl=False)


@main.command(cls=GroupedCommand)
@target_argument
@click.option("--data", required=True, type=FILE, metavar="SRC", help="What to score on, as --data of run.")
@click.option("--column", multiple=True, metavar="FIELD=COLUMN", help="Which column holds what; repeat for several.")
@click.option("--label-names", metavar="FILE", help="Names of labels: a code, a tab and a name on each line.")
@click.option("--encoding", metavar="NAME", help="Encoding of text files.  [default: found from the bytes]")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Use a fixed random sample of N examples only.")
@click.option("--strict", is_flag=True, help="Stop at the first broken row instead of skipping and counting it.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one flat JSON object.")
@devices_option
@recipe_option
@trust_option
def evaluate(
    target: Path,
    data: str,
    as_json: bool,
    devices: str | None,
    recipe: str | None,
    trust_code: bool,
    **options: object,
) -> None:
    """Score a run or an export on other data.

    \b
    Examples:
      python cli.py evaluate RUN --data test.csv
      python cli.py evaluate exports/sentiment --data test.csv --json
    """
    from common.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from common.commands.run import evaluate as evaluate_model

    measured = evaluate_model(target, data, options, recipe, trust_code, devices)
    click.echo(json.dumps(measured, ensure_ascii=False) if as_json else format_evaluation(measured))


@main.command(cls=PredictCommand)
@target_argument
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@predict_options
@devices_option
@recipe_option
@trust_option
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    target: Path,
    texts: tuple[str, ...],
    source: str | None,
    encoding: str | None,
    devices: str | None,
    recipe: str | None,
    trust_code: bool,
    **options: Any,
) -> None:
    """Predict: one JSON object a line for each input, in order.

    Recipes that make something up have options of their own, and need no input; --help after a run tells them.

    \b
    Examples:
      python cli.py predict RUN "a fine film" "a bore"
      python cli.py predict RUN --input reviews.txt
      python cli.py predict RUN --input unlabelled.csv --select-uncertain 50
      cat reviews.txt | python cli.py predict exports/sentiment -
      python cli.py predict RUN --help
    """
    if texts == ("-",):
        texts, source = (), "-"
    if ctx.obj:  # the options are those of the recipe's own
        options = {"generation": ctx.obj(**get_explicit_options(ctx, ctx.obj))}
    request = PredictRequest(texts=texts, source=source, encoding=encoding, **options)
    with as_usage_error():
        request.validate()
    from common.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from common.inference.active_learning import select_for_labeling
    from common.inference.predict import generate
    from common.inference.predict import predict as predict_all
    from common.inference.served_model import load_predictor

    served = load_predictor(target, recipe, trust_code, devices)
    if request.generation:
        num_bad = generate(served, request, click.echo)
    elif request.select_uncertain:
        num_bad = select_for_labeling(served, request, click.echo)
        click.echo(
            "Next: label these, add them to the examples that you have, then:"
            f" python cli.py run RECIPE --data EXAMPLES --init-from {shlex.quote(str(target))}",
            err=True,
        )
    else:
        num_bad = predict_all(served, request, click.echo)
    if num_bad:
        raise make_click_error(f"{num_bad} of the inputs could not be used; the others were predicted.")


@main.command(cls=GroupedCommand)
@click.argument("run", metavar="RUN", type=PATH, shell_complete=complete_run_paths)
@click.option("--output-dir", required=True, metavar="DIR", type=PATH, help="Written as DIR/1, DIR/2, ...")
@recipe_option
@trust_option
def export(run: Path, output_dir: Path, recipe: str | None, trust_code: bool) -> None:
    """Write a SavedModel that takes raw inputs, proved equal to the run.

    \b
    Example:
      python cli.py export runs/sentiment-20260101-120000 --output-dir exports/sentiment
    """
    from common.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow(hide_gpus=True)
    from common.inference.export import export_saved_model, format_proof, format_usage_example

    folder = export_saved_model(run, output_dir, recipe, trust_code)
    click.echo(format_proof(folder), err=True)
    click.echo(f"Next, in Python:\n{format_usage_example(folder)}", err=True)
    click.echo(folder)


@main.command("pre-annotate", cls=GroupedCommand)
@target_argument
@click.option("--input", "source", required=True, type=FILE, metavar="FILE", help="Texts, as --input of predict, or -.")
@click.option("--tool", required=True, type=click.Choice(("label-studio", "doccano")), help="Who imports them.")
@click.option("--output", default="-", type=FILE, metavar="FILE", help="Where to write.  [default: stdout]")
@click.option("--from-name", metavar="NAME", help="Label Studio's tag of annotations.  [default: that of its template]")
@click.option("--to-name", metavar="NAME", help="Label Studio's tag of texts.  [default: text]")
@column_option
@encoding_option
@devices_option
@recipe_option
@trust_option
def pre_annotate(
    target: Path,
    source: str,
    column: tuple[str, ...],
    encoding: str | None,
    devices: str | None,
    recipe: str | None,
    trust_code: bool,
    **annotation: Any,
) -> None:
    """Write predictions as first annotations, for people to correct in Label Studio or doccano.

    Their exports are then read by --data of run, check and evaluate.

    \b
    Examples:
      python cli.py pre-annotate RUN --input texts.txt --tool label-studio --output tasks.json
      python cli.py pre-annotate RUN --input texts.csv --tool doccano --output lines.jsonl
    """
    from common.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow()
    from common.inference.annotate import AnnotationTarget, write_annotations
    from common.inference.served_model import load_predictor

    served = load_predictor(target, recipe, trust_code, devices)
    request = PredictRequest(source=source, column=column, encoding=encoding)
    tool = AnnotationTarget(**annotation)
    num_bad, next_step = write_annotations(target, served, request, tool, lambda text: click.echo(text, nl=False))
    click.echo(next_step, err=True)
    if num_bad:
        raise make_click_error(f"{num_bad} of the inputs could not be used; the others were written.")


@main.command(cls=GroupedCommand)
@click.argument("recipe")
@click.argument("folder", type=PATH)
def copy(recipe: str, folder: Path) -> None:
    """Copy a recipe to a folder of your own, to change it.

    \b
    Example:
      python cli.py copy sentiment mine
      python cli.py run ./mine
    """
    from common.commands.copy import copy_recipe

    copy_recipe(recipe, folder)
    shown = folder if folder.is_absolute() else f"./{folder}"
    click.echo(f"Next: change {shown}/model.py, then: python cli.py run {shown}", err=True)
    click.echo(folder)


@main.command(cls=GroupedCommand)
@click.argument("recipe")
@click.argument("folder", required=False, type=PATH)
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
    from common.commands.init import format_next_steps, init_project

    folder, config, sources = init_project(recipe, folder)
    click.echo(format_next_steps(recipe, config, sources), err=True)
    click.echo(folder)


@main.command(cls=GroupedCommand)
@json_option
def doctor(as_json: bool) -> None:
    """Tell versions, devices, which LSTM kernel runs, and what is missing."""
    from common.commands.doctor import diagnose_environment

    facts, faults = diagnose_environment()
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
