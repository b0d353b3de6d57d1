"""What a person asks for, as inputs of the model, and what comes back, as files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.data.readers.music_sources import KINDS as READ_KINDS
from common.data.readers.music_sources import MusicFile, read_music_files
from common.errors import ConfigError, DataError
from common.music.prompt_parser import parse_key, parse_length, parse_notes, prompt_length
from common.music.render import KINDS, render_music
from common.types import Answer, Assets, Example, Generated

from .config import Config, GenerationConfig
from .scoring import BEATS


def generate_pieces(
    config: Config, assets: Assets, request: GenerationConfig, texts: Sequence[str], answer: Answer
) -> Iterator[Generated]:
    """Yield the pieces for each prompt, in order, with the files that were asked for.

    Args:
      texts: prompts; none for that of the request.

    Raises:
      ConfigError: a setting cannot be understood, or pieces cannot be written so.
      DataError: a prompt's file cannot be read.
    """
    kinds = [_kind(name) for name in request.output]
    asked = texts or ([request.prompt] if request.prompt else [""])
    begun = (_example(config, assets, request, text) for text in asked)
    seeds = [(request.seed + number) % 2**31 for number in range(request.num_samples)]
    examples = [example | {"seed": seed} for example in begun for seed in seeds]
    for position, (example, outputs) in enumerate(zip(examples, answer("conditioned", examples), strict=True)):
        events, files = outputs["events"][: outputs["lengths"]], []
        for name, kind in zip(request.output, kinds, strict=True):
            path = _numbered(Path(name), position + 1, len(examples))
            facts = (example["length"], config.steps_per_beat, example["bar"], example["key"], example["tempo"])
            # The file that the model made, which is what an export gives.
            files.append((path, outputs["midi_bytes"] if kind == "mid" else render_music(kind, events, *facts)))
        seconds = example["length"] / config.steps_per_beat * 60 / example["tempo"]
        shown = {
            "prompt": asked[position // request.num_samples],
            "seed": example["seed"],
            "steps": example["length"],
            "seconds": round(seconds, 2),
            "notes": len(events),
        }
        if not files:
            shown["events"] = events.tolist()
        yield Generated(shown, files)


def _example(config: Config, assets: Assets, request: GenerationConfig, text: str) -> Example:
    """Return the inputs of the endpoint "conditioned", but for the seed."""
    prompt, begun, bar, key, tempo = _prompt(config, text)
    if request.key and not assets["keys"]:
        raise ConfigError(
            f'--key is "{request.key}", but this model knows no keys, for its data told none: leave it out.'
        )
    key = parse_key(request.key) if request.key else key if assets["keys"] else 0
    bar = bar or assets["bar"]
    tempo = request.tempo or tempo or config.tempo
    beat = config.steps_per_beat
    length = parse_length(request.length, beat, bar or BEATS * beat, tempo) + (
        begun if request.length_after_prompt else 0
    )
    if begun > length:
        raise ConfigError(
            f"The prompt has {begun:,} steps, more than the {length:,} of --length {request.length}: give a greater"
            " length, or --length-after-prompt to count it from the prompt's end."
        )
    low = _pitch(request.lowest_note, "lowest-note", beat) if request.lowest_note else assets["low"]
    high = _pitch(request.highest_note, "highest-note", beat) if request.highest_note else assets["high"]
    if low > high:
        raise ConfigError(
            f"--lowest-note is {low} and --highest-note is {high}: the lowest note must not be above the highest."
        )
    end = np.array([[begun, 0, 0]], np.int32)  # so that rests at the end count
    return {
        "events": np.concatenate([prompt, end]) if begun else prompt,
        "length": length,
        "temperature": request.temperature,
        "top_k": request.top_k,
        "top_p": request.top_p,
        "key": key,
        "bar": bar,
        "voices": assets["voices"] if request.max_voices is None else request.max_voices,
        "low": low,
        "high": high,
        "tempo": tempo,
    }


def _prompt(config: Config, text: str) -> tuple[np.ndarray, int, int, int, float]:
    """Return (events, steps, steps of a bar, key, tempo); the last three are 0 if not
    known."""
    path = Path(text).expanduser()
    # Not Path's functions, which fail on a long text; a slash may also stand in a duration.
    is_there = os.path.exists(path) if "/" in text else os.path.isfile(path)  # noqa: PTH110, PTH113
    if path.suffix.lower() in READ_KINDS or is_there:
        piece = _first(path, config.steps_per_beat)
        return piece["events"], piece["steps"], piece["bar"], piece["key"], piece["tempo"]
    return (
        parse_notes(text, config.steps_per_beat),
        prompt_length(text, config.steps_per_beat),
        0,
        0,
        0.0,
    )


def _first(path: Path, steps_per_beat: int) -> Example:
    """Return the first piece of a file."""
    if not os.path.isfile(path):  # noqa: PTH113
        raise DataError(f'{path} is no file: check the path, or write a prompt\'s notes such as "C4 E4 G4".')
    parts = read_music_files(str(path), [MusicFile(path.name, "", path)], 1, steps_per_beat, False)
    return next(example for reader in parts.values() for _, example in reader.rows())


def _pitch(text: str, flag: str, steps_per_beat: int) -> int:
    notes = parse_notes(text, steps_per_beat)
    if len(notes) != 1:
        raise ConfigError(f'--{flag} is "{text}", but must be one note such as C3 or 48.')
    return int(notes[0, 2])


def _kind(name: str) -> str:
    """Return what a file is by its suffix; one that cannot be written is refused before anything is made."""
    suffix = Path(name).suffix.lower().removeprefix(".")
    kind = {"midi": "mid", "xml": "musicxml"}.get(suffix, suffix)
    if kind not in KINDS:
        raise ConfigError(f"--output is {name}, but must end in one of: {', '.join('.' + kind for kind in KINDS)}.")
    return kind


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_stem(f"{path.stem}-{number:0{len(str(count))}d}")
