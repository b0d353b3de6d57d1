"""The measures: how likely held-out pieces are, and how the music that is made up compares with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from common.data.check_music import voices
from common.errors import ConfigError
from common.modeling.heads import Head
from common.modeling.metrics import in_order, tally_of_shares
from common.types import Ask, Assets, Example, JsonObject, OutputRow, Tally

from . import copies
from .config import Config

SAMPLES, MOST_STEPS = 32, 512  # pieces that are made up to be compared, and how long they are at most
BEATS = 4  # of a bar where none is known
FAR = 12  # semitones: greater intervals count as this one


class MusicHead(Head):
    """How likely held-out pieces are, and how pieces that are made up compare with them."""

    def __init__(self, config: Config, assets: Assets):
        self.config, self.assets = config, assets

    def compute_metrics(self, batches: Iterable[list[Example]], ask: Ask) -> JsonObject:
        return measured(batches, ask, self.assets, self.config.steps_per_beat)

    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        return tally(batches, ask)

    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        events = outputs["events"][: outputs["lengths"]]
        return {"notes": len(events), "events": events.tolist()}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        raise ConfigError("--uncertain finds what to label, and this recipe makes pieces up: leave it out.")

    def data_warnings(self) -> list[str]:
        warnings = [] if self.assets["bar"] else ["No bar lines are known, so that pieces are made of steps alone."]
        if octaves := self.assets.get("octaves", 0):
            away = f"{abs(octaves)} octave{'s' if abs(octaves) > 1 else ''}"
            here, there = ("higher", "lower") if octaves > 0 else ("lower", "higher")
            warnings.append(
                f"Pieces stand {away} {here} than those that the weights come from: each note begins with the weights"
                f" of the one {away} {there}."
            )
        return warnings


def _tops(events: np.ndarray) -> np.ndarray:
    """The highest note of each step in which any begins, in order."""
    _, first = np.unique(events[:, 0], return_index=True)  # from high to low within a step
    return events[first, 2]


# What is counted of a piece: its events, steps and steps of a bar.
HISTOGRAMS: dict[str, Callable[[np.ndarray, int, int], Iterable[int]]] = {
    "pitch_class": lambda events, steps, bar: events[:, 2] % 12,
    "interval": lambda events, steps, bar: np.clip(np.diff(_tops(events)), -FAR, FAR),
    "duration": lambda events, steps, bar: events[:, 1],
    "onset": lambda events, steps, bar: events[:, 0] % bar,
    "density": lambda events, steps, bar: np.bincount(events[:, 0], minlength=steps)[:steps],
    "polyphony": lambda events, steps, bar: voices(events, steps),
}


def overlap(one: Counter[int], other: Counter[int]) -> float:
    """The area that two histograms share, from 0 to 1 (Yang and Lerch 2020).

    >>> overlap(Counter("aab"), Counter("abb"))
    0.6666666666666666
    """
    totals = one.total(), other.total()
    if not all(totals):
        return float(totals[0] == totals[1])
    return sum(min(one[value] / totals[0], other[value] / totals[1]) for value in one.keys() | other.keys())


def repetition(events: np.ndarray, bar: int) -> float:
    """The share of the bars with notes that repeat an earlier one of the piece, note for note."""
    bars: dict[int, list[tuple[int, int, int]]] = {}
    for start, duration, pitch in events.tolist():
        bars.setdefault(start // bar, []).append((start % bar, duration, pitch))
    seen = Counter(tuple(notes) for notes in bars.values())
    return sum(count - 1 for count in seen.values()) / max(len(bars), 1)


def measured(batches: Iterable[list[Example]], ask: Ask, assets: Assets, steps_per_beat: int) -> JsonObject:
    """All measures; see the recipe's README for what they mean."""
    bar = assets["bar"] or BEATS * steps_per_beat
    sums: Counter[str] = Counter()
    nll, lengths, count = 0.0, [], 0
    counted: dict[str, Counter[int]] = {name: Counter() for name in HISTOGRAMS}
    repeated = []
    for batch in batches:
        for _, outputs in ask("score", batch):
            nll += float(outputs["nll"].sum(dtype=float))
            sums.update({name: int(outputs[name].sum()) for name in ("notes", "correct", "either")})
        for example in batch:
            count += 1
            lengths.append(example["steps"])
            events = np.asarray(example["events"])
            _count(counted, events, example["steps"], example["bar"] or bar)
            repeated.append(repetition(events, example["bar"] or bar))
    if not count or not sum(lengths):
        return {"examples": count}
    steps = min(max(int(np.median(lengths)), 1), MOST_STEPS)
    samples = _samples(ask, steps)
    made: dict[str, Counter[int]] = {name: Counter() for name in HISTOGRAMS}
    for events in samples:
        _count(made, events, steps, bar)
    return {
        "nll_per_frame": nll / sum(lengths),
        "nll_per_note": nll / max(sums["notes"], 1),
        "nll_per_event": nll / (sums["notes"] + sum(lengths)),
        "frame_accuracy": sums["correct"] / max(sums["either"], 1),
        **{f"overlap_{name}": overlap(made[name], counted[name]) for name in HISTOGRAMS},
        "longest_copy": copies.longest(samples, copies.unpacked(assets["passages"])),
        "repetition": float(np.mean([repetition(events, bar) for events in samples])),
        "repetition_of_data": float(np.mean(repeated)),
        "frames": sum(lengths),
        "examples": count,
    }


def tally(batches: Iterable[list[Example]], ask: Ask) -> Tally:
    """The nats a frame of `measured`, as what each piece adds to them."""
    parts = [
        (outputs["nll"], example["steps"])
        for batch in batches
        for example, outputs in zip(batch, in_order(ask, "score", batch), strict=True)
    ]
    return tally_of_shares("nll_per_frame", parts, higher=False)


def _count(counted: dict[str, Counter[int]], events: np.ndarray, steps: int, bar: int) -> None:
    for name, values in HISTOGRAMS.items():
        counted[name].update(int(value) for value in values(events, steps, bar))


def _samples(ask: Ask, steps: int) -> list[np.ndarray]:
    """The events of pieces out of nothing, by the model's own chances."""
    wish = {"events": np.zeros([0, 3], np.int32), "length": steps, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    found: list[np.ndarray] = []
    for _, outputs in ask("serving_default", [wish | {"seed": seed} for seed in range(SAMPLES)]):
        found += [events[:length] for events, length in zip(outputs["events"], outputs["lengths"], strict=True)]
    return found
