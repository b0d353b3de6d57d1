"""What a person asks for, as inputs of the model, and what comes back, as files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.data.readers.music_sources import KINDS as READ_KINDS
from common.data.readers.music_sources import Named, read
from common.errors import ConfigError, DataError
from common.music import prompt_parser
from common.music.render import KINDS, rendered
from common.types import Answer, Assets, Example, Made

from .config import Config, Wishes
from .scoring import BEATS


def made(config: Config, assets: Assets, wishes: Wishes, texts: Sequence[str], answer: Answer) -> Iterator[Made]:
    """The pieces for each prompt, in order, with the files that were asked for.

    Args:
      texts: prompts; none for that of the wishes.

    Raises:
      ConfigError: a wish cannot be understood, or pieces cannot be written so.
      DataError: a prompt's file cannot be read.
    """
    kinds = [_kind(name) for name in wishes.out]
    asked = texts or ([wishes.prompt] if wishes.prompt else [""])
    begun = (_example(config, assets, wishes, text) for text in asked)
    seeds = [(wishes.seed + number) % 2**31 for number in range(wishes.count)]
    examples = [one | {"seed": seed} for one in begun for seed in seeds]
    for position, (example, outputs) in enumerate(zip(examples, answer("conditioned", examples), strict=True)):
        events, files = outputs["events"][: outputs["lengths"]], []
        for name, kind in zip(wishes.out, kinds, strict=True):
            path = _numbered(Path(name), position + 1, len(examples))
            facts = (example["length"], config.steps_per_beat, example["bar"], example["key"], example["tempo"])
            # The file that the model made, which is what an export gives.
            files.append((path, outputs["midi_bytes"] if kind == "mid" else rendered(kind, events, *facts)))
        seconds = example["length"] / config.steps_per_beat * 60 / example["tempo"]
        shown = {
            "prompt": asked[position // wishes.count],
            "seed": example["seed"],
            "steps": example["length"],
            "seconds": round(seconds, 2),
            "notes": len(events),
        }
        if not files:
            shown["events"] = events.tolist()
        yield Made(shown, files)


def _example(config: Config, assets: Assets, wishes: Wishes, text: str) -> Example:
    """The inputs of the endpoint "conditioned", but for the seed."""
    prompt, begun, bar, key, tempo = _prompt(config, text)
    if wishes.key and not assets["keys"]:
        raise ConfigError(
            f'--key is "{wishes.key}", but this model knows no keys, for its data told none: leave it out.'
        )
    key = prompt_parser.key(wishes.key) if wishes.key else key if assets["keys"] else 0
    bar = bar or assets["bar"]
    tempo = wishes.tempo or tempo or config.tempo
    beat = config.steps_per_beat
    length = prompt_parser.length(wishes.length, beat, bar or BEATS * beat, tempo) + (begun if wishes.continue_ else 0)
    if begun > length:
        raise ConfigError(
            f"The prompt has {begun:,} steps, more than the {length:,} of --length {wishes.length}: give a greater"
            " length, or --continue to count it from the prompt's end."
        )
    low = _pitch(wishes.low, "low", beat) if wishes.low else assets["low"]
    high = _pitch(wishes.high, "high", beat) if wishes.high else assets["high"]
    if low > high:
        raise ConfigError(f"--low is {low} and --high is {high}: the lowest note must not be above the highest.")
    end = np.array([[begun, 0, 0]], np.int32)  # so that rests at the end count
    return {
        "events": np.concatenate([prompt, end]) if begun else prompt,
        "length": length,
        "temperature": wishes.temperature,
        "top_k": wishes.top_k,
        "top_p": wishes.top_p,
        "key": key,
        "bar": bar,
        "voices": assets["voices"] if wishes.voices is None else wishes.voices,
        "low": low,
        "high": high,
        "tempo": tempo,
    }


def _prompt(config: Config, text: str) -> tuple[np.ndarray, int, int, int, float]:
    """(events, steps, steps of a bar, key, tempo); the last three are 0 if not known."""
    path = Path(text).expanduser()
    # Not Path's functions, which fail on a long text; a slash may also stand in a duration.
    is_there = os.path.exists(path) if "/" in text else os.path.isfile(path)  # noqa: PTH110, PTH113
    if path.suffix.lower() in READ_KINDS or is_there:
        piece = _first(path, config.steps_per_beat)
        return piece["events"], piece["steps"], piece["bar"], piece["key"], piece["tempo"]
    return (
        prompt_parser.events(text, config.steps_per_beat),
        prompt_parser.steps(text, config.steps_per_beat),
        0,
        0,
        0.0,
    )


def _first(path: Path, steps_per_beat: int) -> Example:
    """The first piece of a file."""
    if not os.path.isfile(path):  # noqa: PTH113
        raise DataError(f'{path} is no file: check the path, or write a prompt\'s notes such as "C4 E4 G4".')
    parts = read(str(path), [Named(path.name, "", path)], 1, steps_per_beat, False)
    return next(example for one in parts.values() for _, example in one.rows())


def _pitch(text: str, flag: str, steps_per_beat: int) -> int:
    found = prompt_parser.events(text, steps_per_beat)
    if len(found) != 1:
        raise ConfigError(f'--{flag} is "{text}", but must be one note such as C3 or 48.')
    return int(found[0, 2])


def _kind(name: str) -> str:
    """What a file is by its suffix; one that cannot be written is refused before anything is made."""
    suffix = Path(name).suffix.lower().removeprefix(".")
    kind = {"midi": "mid", "xml": "musicxml"}.get(suffix, suffix)
    if kind not in KINDS:
        raise ConfigError(f"--out is {name}, but must end in one of: {', '.join('.' + one for one in KINDS)}.")
    return kind


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_stem(f"{path.stem}-{number:0{len(str(count))}d}")
