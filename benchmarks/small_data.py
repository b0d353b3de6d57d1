"""Small made-up data for every recipe: varied enough to reach most of the code, the same at each call."""

from __future__ import annotations

import csv
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True)
class SmallData:
    """Files for one recipe.

    Args:
      train: what `run --data` takes.
      more: the same of other examples, to fine-tune on.
      inputs: the arguments of `predict`, after the run: examples that were not trained on.
    """

    train: Path
    more: Path
    inputs: tuple[str, ...]


def make_reviews(count: int, rng: Rng, labels: tuple[str, ...] = ("bad", "good")) -> list[tuple[str, str]]:
    """Return texts of one to sixty words and their labels, with quotes, line breaks, accents and emoji among them."""
    words = [
        "the",
        "film",
        "plot",
        "was",
        "an",
        "actor",
        "scene",
        "who",
        "with",
        "music",
        "it's",
        "café",
        "naïve",
        "1999",
    ]
    verdicts = {"bad": ["dull", "awful", "boring"], "good": ["great", "fine", "lovely"], "mixed": ["odd", "uneven"]}
    marks = [".", "!", ', "so to say"', " 🎬", "\nSecond line", ""]
    rows = []
    for number in range(count):
        label = labels[number % len(labels)]
        text = [*rng.choice(words, rng.integers(0, 60 if number % 9 == 0 else 12)), rng.choice(verdicts[label])]
        rng.shuffle(text)
        rows.append((f"{' '.join(text)} n{number}{rng.choice(marks)}", label))
    return rows


def make_sentences(count: int, rng: Rng) -> list[list[tuple[str, str]]]:
    """Return sentences as (token, tag); people stand after "Mr", places after "in", companies after "for"."""
    words = ["the", "old", "house", "was", "sold", "by", "them", "when", "it", "rained", "1871", "Ümlaut", "don't"]
    syllables = ["ka", "lo", "mi", "ren", "sta", "vor", "bel", "du", "fen", "gri"]
    sentences = []
    for number in range(count):
        sentence = []
        for sign, kind in rng.permutation([("Mr", "PER"), ("in", "LOC"), ("for", "ORG")]):
            sentence += [(str(word), "O") for word in rng.choice(words, rng.integers(1, 5))]
            if rng.random() < 0.8:
                sentence.append((str(sign), "O"))
                for position in range(rng.integers(1, 4)):
                    name = "".join(rng.choice(syllables, rng.integers(2, 4))).capitalize()
                    sentence.append((name, f"{'I' if position else 'B'}-{kind}"))
        sentences.append([*sentence, (f"n{number}", "O"), (".", "O")])
    return sentences


def encode_png(pixels: np.ndarray) -> bytes:
    """Return a PNG file of uint8 pixels, [height, width] of gray or [height, width, 3] of color."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_images(count: int, rng: Rng) -> list[tuple[bytes, str]]:
    """Return PNG files of several sizes and their labels: a bar across, a bar down, or a gray square."""
    images = []
    for number in range(count):
        label = ("across", "down", "square")[number % 3]
        height, width = rng.integers(14, 24, 2)
        pixels = rng.integers(0, 80, (height, width, 3), np.uint8)
        top, left = rng.integers(2, 9, 2)
        if label == "across":
            pixels[top : top + 3, :, 0] = 250
        elif label == "down":
            pixels[:, left : left + 3, 2] = 250
        else:
            pixels[top : top + 5, left : left + 5] = 160
        images.append((encode_png(pixels if number % 7 else pixels[..., 0].copy()), label))
    return images


def make_pairs(count: int, rng: Rng) -> list[tuple[str, str]]:
    """Return sentences and the same with each word in another language, with placeholders and tags in some."""
    words = {
        "the": "das",
        "cat": "Tier",
        "sees": "sieht",
        "a": "ein",
        "red": "rotes",
        "house": "Häuschen",
        "now": "jetzt",
    }
    marks = ["%(name)s", "{0}", "<b>%d</b>"]
    pairs = []
    for number in range(count):
        chosen = rng.choice(list(words), rng.integers(2, 9)).tolist()
        end = f" {rng.choice(marks)}" if number % 3 == 0 else f" {number}"
        pairs.append((f"{' '.join(chosen)}{end}.", f"{' '.join(words[word] for word in chosen)}{end}."))
    return pairs


def make_pieces(count: int, rng: Rng) -> list[list[list[int]]]:
    """Return pieces as lists of frames: a tune by whole tones, a chord below every fourth note, rests between."""
    pieces = []
    for _ in range(count):
        tune = 64 + rng.choice([-2, 2], rng.integers(8, 24)).cumsum()
        chords = [
            [int(note) - 12, int(note) - 5, int(note)] if step % 4 == 0 else [int(note)]
            for step, note in enumerate(tune)
        ]
        pieces.append([[] if rng.random() < 0.1 and step else chord for step, chord in enumerate(chords)])
    return pieces


def _write_table(path: Path, header: tuple[str, str], rows: list[tuple[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def _write_lines(path: Path, lines: list[str]) -> tuple[str, str]:
    path.write_text("".join(f"{' '.join(line.split())}\n" for line in lines), encoding="utf-8")
    return "--input", str(path)


def _write_sentiment(folder: Path) -> SmallData:
    rng = np.random.default_rng(1)
    header = ("text", "label")
    train = _write_table(folder / "reviews.csv", header, make_reviews(240, rng))
    more = _write_table(folder / "more_reviews.csv", header, make_reviews(150, rng, ("bad", "good", "mixed")))
    return SmallData(train, more, _write_lines(folder / "texts.txt", [text for text, _ in make_reviews(40, rng)]))


def _write_ner(folder: Path) -> SmallData:
    rng = np.random.default_rng(2)
    paths = []
    for name, count in (("names.conll", 150), ("more_names.conll", 80)):
        blocks = ["".join(f"{token}\t{tag}\n" for token, tag in sentence) for sentence in make_sentences(count, rng)]
        paths.append(folder / name)
        paths[-1].write_text("\n".join(blocks), encoding="utf-8")
    sentences = [" ".join(token for token, _ in sentence) for sentence in make_sentences(30, rng)]
    return SmallData(*paths, _write_lines(folder / "sentences.txt", sentences))


def _write_images(folder: Path) -> SmallData:
    rng = np.random.default_rng(3)
    for name, count in (("bars", 150), ("more_bars", 90), ("unseen", 12)):
        for number, (content, label) in enumerate(make_images(count, rng)):
            path = folder / name / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    unseen = sorted(map(str, (folder / "unseen").rglob("*.png")))
    return SmallData(folder / "bars", folder / "more_bars", tuple(unseen))


def _write_translation(folder: Path) -> SmallData:
    rng = np.random.default_rng(4)
    header = ("text", "target")
    train = _write_table(folder / "pairs.tsv", header, make_pairs(180, rng), "\t")
    more = _write_table(folder / "more_pairs.tsv", header, make_pairs(90, rng), "\t")
    return SmallData(train, more, _write_lines(folder / "texts.txt", [text for text, _ in make_pairs(20, rng)]))


def _write_music(folder: Path) -> SmallData:
    rng = np.random.default_rng(5)
    paths = []
    for name, count in (("tunes.json", 60), ("more_tunes.json", 30)):
        pieces = make_pieces(count, rng)
        splits = {"train": pieces[: -count // 5], "valid": pieces[-count // 5 :]}
        paths.append(folder / name)
        paths[-1].write_text(json.dumps(splits), encoding="utf-8")
    return SmallData(*paths, ("--prompt", "C4 E4+G4:2 r D4", "--length", "16steps", "--seed", "3"))


WRITERS: dict[str, Callable[[Path], SmallData]] = {
    "sentiment": _write_sentiment,
    "ner": _write_ner,
    "image_classification": _write_images,
    "translation": _write_translation,
    "music": _write_music,
}


def write_small_data(recipe: str, folder: Path) -> SmallData:
    """Write the data of a recipe into a folder of its own."""
    folder.mkdir(parents=True)
    return WRITERS[recipe](folder)
