"""Calls of the command line in this process, and small data for them."""

import csv

import numpy as np
from click.testing import CliRunner

import cli

SMALL = [
    "--embedding-units",
    "8",
    "--lstm-units",
    "8",
    "--epochs",
    "2",
    "--batch-size",
    "16",
    "--learning-rate",
    "0.02",
]


def call(*words, text=None):
    """Runs a command in this process; the result has exit_code, stdout and stderr."""
    return CliRunner().invoke(cli.main, [str(word) for word in words], input=text, prog_name="cli.py")


def good(*words, text=None):
    """Runs a command that must succeed; its stdout."""
    result = call(*words, text=text)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def fails(*words, status=1, text=None):
    """Runs a command that must fail with one clear sentence; returns the sentence."""
    result = call(*words, text=text)
    assert result.exit_code == status, (result.exit_code, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    message = result.stderr.rstrip("\n").rsplit("\nError: ", 1)[-1].removeprefix("Error: ")
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def write(path, rows, header=("text", "label")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows] if header else rows)
    return path


def tiny_texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Made-up reviews whose label a model can learn from one word, no two alike: (text, label)."""
    random = np.random.default_rng(seed)
    filler = ["the", "film", "plot", "was", "an", "actor", "scene", "who", "with", "music", "story", "it"]
    rows = []
    for number in range(count):
        label = ("bad", "good")[number % 2]
        verdict = {"bad": ["dull", "awful", "boring"], "good": ["great", "fine", "lovely"]}[label]
        words = [*random.choice(filler, random.integers(2, 12)), str(random.choice(verdict)), f"n{number}"]
        random.shuffle(words)
        rows.append((" ".join(words), label))
    return rows
