"""Calls of the command line in this process, and small data for them."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

import cli
from common.data.readers.image_bytes import encode_png

SMALL = [
    "--embedding-dim",
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


def call(*words: object, text: str | bytes | None = None) -> Result:
    """Runs a command in this process; the result has exit_code, stdout and stderr."""
    return CliRunner().invoke(cli.main, [str(word) for word in words], input=text, prog_name="cli.py")


def good(*words: object, text: str | bytes | None = None) -> str:
    """Runs a command that must succeed; its stdout."""
    result = call(*words, text=text)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def fails(*words: object, status: int = 1, text: str | bytes | None = None) -> str:
    """Runs a command that must fail with one clear sentence; returns the sentence."""
    result = call(*words, text=text)
    assert result.exit_code == status, (result.exit_code, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    message = result.stderr.rstrip("\n").rsplit("\nError: ", 1)[-1].removeprefix("Error: ")
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def write(path: Path, rows: Iterable[Sequence[object]], header: Sequence[str] | None = ("text", "label")) -> Path:
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


SMALL_NER = [
    "--embedding-dim",
    "8",
    "--lstm-units",
    "8",
    "--char-filters",
    "4",
    "--wide-buckets",
    "500",
    "--epochs",
    "6",
    "--batch-size",
    "16",
    "--learning-rate",
    "0.02",
]


def tagged_sentences(count: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """Made-up sentences whose entities a model can learn from the word before them, no two alike: (tokens, tags).

    People stand after "Mr", places after "in", companies after "for"; names are made of syllables, so few come twice.
    """
    random = np.random.default_rng(seed)
    filler = ["the", "old", "house", "was", "sold", "by", "them", "when", "it", "rained", "and", "nobody", "cared"]
    syllables = ["ka", "lo", "mi", "ren", "sta", "vor", "bel", "du", "fen", "gri"]

    def name() -> str:
        return "".join(random.choice(syllables, random.integers(2, 4))).capitalize()

    found = []
    for number in range(count):
        tokens: list[str] = []
        tags: list[str] = []
        for sign, kind, most in random.permutation([("Mr", "PER", 2), ("in", "LOC", 3), ("for", "ORG", 2)]):
            words = random.choice(filler, random.integers(1, 4)).tolist()
            if random.random() < 0.8:
                names = [name() for _ in range(random.integers(1, int(most) + 1))]
                tokens += [*words, sign, *names]
                tags += ["O"] * (len(words) + 1) + [f"B-{kind}"] + [f"I-{kind}"] * (len(names) - 1)
        tokens += [f"n{number}", "."]
        tags += ["O", "O"]
        found.append((tokens, tags))
    return found


def write_conll(path: Path, sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> Path:
    text = "\n".join(
        "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True)) for tokens, tags in sentences
    )
    path.write_text(text, encoding="utf-8")
    return path


SMALL_IMAGES = [
    "--base-filters",
    "4",
    "--epochs",
    "6",
    "--batch-size",
    "16",
    "--learning-rate",
    "0.02",
    "--image-size",
    "16",
    "--erasing-size",
    "0",
]


def tiny_images(count: int, seed: int = 0) -> list[tuple[bytes, str]]:
    """Made-up PNG files, red with a bar across or blue with a bar down, no two alike: (file, label)."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        image = random.integers(0, 80, (18, 20, 3), np.uint8)
        place = random.integers(4, 12)
        if number % 2:
            image[:, place : place + 3, 2] = 250
        else:
            image[place : place + 3, :, 0] = 250
        found.append((encode_png(image), ("across", "down")[number % 2]))
    return found


def write_images(folder: Path, images: Iterable[tuple[bytes, str]]) -> Path:
    """The folder, with a sub-folder for each label and the images in it."""
    for number, (file, label) in enumerate(images):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number}.png").write_bytes(file)
    return folder


SMALL_TRANSLATION = [
    "--hidden-dim",
    "16",
    "--num-layers",
    "1",
    "--num-heads",
    "2",
    "--intermediate-dim",
    "32",
    "--vocabulary-size",
    "400",
    "--epochs",
    "2",
    "--batch-size",
    "256",
    "--learning-rate",
    "0.01",
    "--num-beams",
    "2",
]


def tiny_pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Made-up sentences and the same with each word in another language, no two alike: (text, target)."""
    random = np.random.default_rng(seed)
    words = {"the": "das", "cat": "Tier", "sees": "sieht", "a": "ein", "red": "rotes", "house": "Haus", "now": "jetzt"}
    found = []
    for number in range(count):
        chosen = random.choice(list(words), random.integers(2, 7)).tolist()
        found.append((f"{' '.join(chosen)} {number}.", f"{' '.join(words[word] for word in chosen)} {number}."))
    return found


SMALL_MUSIC = [
    "--frame-lstm-units",
    "16",
    "--note-lstm-units",
    "16",
    "--frame-lstm-layers",
    "1",
    "--steps-per-beat",
    "1",
    "--batch-size",
    "128",
    "--learning-rate",
    "0.02",
    "--epochs",
    "2",
]


def tiny_tunes(count: int, seed: int = 0) -> list[list[list[int]]]:
    """Made-up tunes of one voice that goes up or down a tone at each frame, no two alike: frames of notes."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        moves = random.choice([-2, 2], 16).cumsum()
        found.append([[int(60 + move)] for move in moves])
    return found


def write_frames(path: Path, tunes: list[list[list[int]]]) -> Path:
    """A JSON file of frames, every fifth tune of which is for validation."""
    parts = {"train": [tune for at, tune in enumerate(tunes) if at % 5], "valid": tunes[::5]}
    path.write_text(json.dumps(parts))
    return path


def small_data(name: str, folder: Path) -> list[Any]:
    """What follows `run NAME` for a small run of any recipe, on data made in the folder."""
    if name == "sentiment":
        return ["--data", write(folder / "reviews.csv", tiny_texts(200)), *SMALL]
    if name == "ner":
        return ["--data", write_conll(folder / "names.conll", tagged_sentences(120)), *SMALL_NER]
    if name == "image_classification":
        return ["--data", write_images(folder / "bars", tiny_images(120)), *SMALL_IMAGES]
    if name == "translation":
        return ["--data", write(folder / "pairs.csv", tiny_pairs(120), header=("text", "target")), *SMALL_TRANSLATION]
    if name == "music":
        return ["--data", write_frames(folder / "tunes.json", tiny_tunes(40)), *SMALL_MUSIC]
    raise AssertionError(f"the recipe {name} has no small data here")


def prepared_by(builder: str, folder: Path) -> Path:
    """The data folder of a set of TFDS, written by a process of its own, so that only its files are known here."""
    (folder / "builder.py").write_text(builder)
    subprocess.run([sys.executable, "builder.py", folder / "data"], check=True, capture_output=True, cwd=folder)
    return folder / "data"
