"""The measures: how likely held-out pieces are, and how the music that is made up compares with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from common.data.check_music import count_voices
from common.errors import ConfigError
from common.modeling.heads import Head
from common.modeling.metrics import collect_in_order, ratio_metric
from common.types import Ask, Assets, Example, JsonObject, OutputRow, PerExampleMetric

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
        return compute_metrics(batches, ask, self.assets, self.config.steps_per_beat)

    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> PerExampleMetric:
        return per_example_nll(batches, ask)

    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        events = outputs["events"][: outputs["lengths"]]
        return {"notes": len(events), "events": events.tolist()}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        raise ConfigError("--select-uncertain finds what to label, and this recipe makes pieces up: leave it out.")

    def data_warnings(self) -> list[str]:
        warnings = [] if self.assets["bar"] else ["No bar lines are known, so that pieces are made of steps alone."]
        if octaves := self.assets["octaves"]:
            away = f"{abs(octaves)} octave{'s' if abs(octaves) > 1 else ''}"
            here, there = ("higher", "lower") if octaves > 0 else ("lower", "higher")
            warnings.append(
                f"Pieces stand {away} {here} than those that the weights come from: each note begins with the weights"
                f" of the one {away} {there}."
            )
        return warnings


def _tops(events: np.ndarray) -> np.ndarray:
    """Return the highest note of each step in which any begins, in order."""
    _, first = np.unique(events[:, 0], return_index=True)  # from high to low within a step
    return events[first, 2]


# What is counted of a piece: its events, steps and steps of a bar.
HISTOGRAMS: dict[str, Callable[[np.ndarray, int, int], Iterable[int]]] = {
    "pitch_class": lambda events, steps, bar: events[:, 2] % 12,
    "interval": lambda events, steps, bar: np.clip(np.diff(_tops(events)), -FAR, FAR),
    "duration": lambda events, steps, bar: events[:, 1],
    "onset": lambda events, steps, bar: events[:, 0] % bar,
    "density": lambda events, steps, bar: np.bincount(events[:, 0], minlength=steps)[:steps],
    "polyphony": lambda events, steps, bar: count_voices(events, steps),
}


def histogram_overlap(first: Counter[int], second: Counter[int]) -> float:
    """Return the area that two histograms share, from 0 to 1 (Yang and Lerch 2020).

    >>> histogram_overlap(Counter("aab"), Counter("abb"))
    0.6666666666666666
    """
    totals = first.total(), second.total()
    if not all(totals):
        return float(totals[0] == totals[1])
    return sum(min(first[value] / totals[0], second[value] / totals[1]) for value in first.keys() | second.keys())


def bar_repetition_rate(events: np.ndarray, bar: int) -> float:
    """Return the fraction of the bars with notes that repeat an earlier one of the piece, note for note."""
    bars: dict[int, list[tuple[int, int, int]]] = {}
    for start, duration, pitch in events.tolist():
        bars.setdefault(start // bar, []).append((start % bar, duration, pitch))
    seen = Counter(tuple(notes) for notes in bars.values())
    return sum(count - 1 for count in seen.values()) / max(len(bars), 1)


def compute_metrics(batches: Iterable[list[Example]], ask: Ask, assets: Assets, steps_per_beat: int) -> JsonObject:
    """Return all metrics; see the recipe's README for what they mean."""
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
            repeated.append(bar_repetition_rate(events, example["bar"] or bar))
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
        **{f"overlap_{name}": histogram_overlap(made[name], counted[name]) for name in HISTOGRAMS},
        "longest_copy": copies.longest_copied_passage(
            samples, copies.deserialize_passages(assets["training_passages"])
        ),
        "repetition": float(np.mean([bar_repetition_rate(events, bar) for events in samples])),
        "repetition_of_data": float(np.mean(repeated)),
        "frames": sum(lengths),
        "examples": count,
    }


def per_example_nll(batches: Iterable[list[Example]], ask: Ask) -> PerExampleMetric:
    """Return the nats a frame of `compute_metrics`, as what each piece adds to them."""
    parts = [
        (outputs["nll"], example["steps"])
        for batch in batches
        for example, outputs in zip(batch, collect_in_order(ask, "score", batch), strict=True)
    ]
    return ratio_metric("nll_per_frame", parts, higher_is_better=False)


def _count(counted: dict[str, Counter[int]], events: np.ndarray, steps: int, bar: int) -> None:
    for name, values in HISTOGRAMS.items():
        counted[name].update(int(value) for value in values(events, steps, bar))


def _samples(ask: Ask, steps: int) -> list[np.ndarray]:
    """Return the events of pieces without a prompt, sampled from the model's own probabilities."""
    request = {"events": np.zeros([0, 3], np.int32), "length": steps, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    samples: list[np.ndarray] = []
    for _, outputs in ask("serving_default", [request | {"seed": seed} for seed in range(SAMPLES)]):
        samples += [events[:length] for events, length in zip(outputs["events"], outputs["lengths"], strict=True)]
    return samples
