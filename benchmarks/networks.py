"""A model of a step's time on n workers, t(n) = compute(batch / n) + allreduce(n); `scaling.py --model` prints it.

The all-reduce is a ring's: 2 (n - 1) / n * bytes / bandwidth + 2 (n - 1) * latency. The statistics of each batch
normalization are exchanged, too, and their gradients; they are small, so that only their latency counts. It is assumed
that nothing of it is hidden behind computing, that all workers are equally fast and have a network of their own, and
that input is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

GIGABIT = 1e9 / 8  # bytes
WORKERS, NETWORKS = (8, 64, 512), (25, 100)  # of the table; Gb/s


def ring_seconds(count: int, size: float, bandwidth: float, latency: float) -> float:
    """Of an all-reduce in a ring: each of `count` workers sends 2 (n - 1) pieces of an nth, one after the other.

    Args:
      size: bytes that are summed.
      bandwidth: bytes a second that each worker sends.
      latency: seconds from one worker to the next.

    >>> ring_seconds(4, 100.0, 50.0, 0.5)  # 6 messages of 25 bytes: 150 bytes take 3 s, and 6 waits
    6.0
    """
    return 2 * (count - 1) * (size / count / bandwidth + latency)


def step_seconds(compute: float, batch: float, count: int, reduce: float) -> float:
    """Of a step of a batch of so many rows, divided over the workers; none of them has less than a row.

    Args:
      compute: seconds of the whole batch on one worker.
      reduce: seconds of the all-reduce.

    >>> step_seconds(8.0, 2, 4, 1.0)  # two rows on two workers, 4 s; the others have nothing to add
    5.0
    """
    return compute / min(count, max(batch, 1)) + reduce


def fitted(points: Sequence[tuple[int, float, float]]) -> tuple[float, float]:
    """(bandwidth, latency) of the ring that comes nearest to (workers, bytes, seconds), by relative squares.

    Neither is below 0: where they would be, the other explains all that it can.
    """
    import numpy as np

    # Each equation is divided by its seconds, so that short times count as long ones do.
    terms = np.array([[2 * (n - 1) / n * size / seconds, 2 * (n - 1) / seconds] for n, size, seconds in points])
    wanted = np.ones(len(points))
    slope, latency = np.linalg.lstsq(terms, wanted, rcond=None)[0]
    alone = terms.T @ wanted / (terms**2).sum(axis=0)
    if slope < 0 or latency < 0:
        slope, latency = (0.0, alone[1]) if slope < 0 else (alone[0], 0.0)
    return (1 / float(slope) if slope else float("inf")), float(latency)


def modelled(results: dict[str, Any], latency: float) -> str:
    """The fit to what was measured on loopback, if that was, and the table of networks; in Markdown."""
    return "\n".join([*loopback(results), *table(results, latency)])


def loopback(results: dict[str, Any]) -> list[str]:
    """Lines on how well a ring explains the all-reduces that were measured between processes."""
    points = {
        (recipe, row["processes"]): (found["gradient_bytes"], row["reduce"])
        for recipe, found in results.items()
        for row in found["layouts"]
        if row["processes"] > 1
    }
    if not points:
        return []
    bandwidth, hop = fitted([(count, size, seconds) for (_, count), (size, seconds) in points.items()])
    lines = [
        f"Fitted to loopback: {bandwidth / GIGABIT:.2f} Gb/s for each worker, {1000 * hop:.2f} ms a message.",
        "",
        "| recipe | processes | MB | all-reduce measured, ms | by the fit, ms |",
        "|---|---|---|---|---|",
    ]
    for (recipe, count), (size, seconds) in points.items():
        by_fit = ring_seconds(count, size, bandwidth, hop)
        lines.append(f"| {recipe} | {count} | {size / 1e6:.2f} | {1000 * seconds:.1f} | {1000 * by_fit:.1f} |")
    return [*lines, ""]


def table(results: dict[str, Any], latency: float) -> list[str]:
    """Lines on what each recipe would take on networks of nominal rate and so many seconds a message."""
    several = " / ".join(map(str, WORKERS))
    lines = [
        f"Networks with {1e6 * latency:.0f} µs a message; each cell is for {several} workers.",
        "",
        "| recipe | weights | MB | compute, ms | Gb/s | all-reduce, ms | efficiency | speed-up, same batch |",
        "|---" * 8 + "|",
    ]
    for recipe, found in results.items():
        one = next(row for row in found["layouts"] if row["replicas"] == 1)
        compute, size = one["step"] - one["input"], found["gradient_bytes"]
        for network in NETWORKS:
            reduces = [
                ring_seconds(count, size, network * GIGABIT, latency)
                + found["norms"] * 2 * ring_seconds(count, 0.0, network * GIGABIT, latency)
                for count in WORKERS
            ]
            same = [step_seconds(compute, one["rows"], *pair) for pair in zip(WORKERS, reduces, strict=True)]
            cells = [
                " / ".join(f"{1000 * reduce:.1f}" for reduce in reduces),
                " / ".join(f"{compute / (compute + reduce):.0%}" for reduce in reduces),
                " / ".join(f"{compute / seconds:.1f}" for seconds in same),
            ]
            facts = f"{found['parameters']:,} | {size / 1e6:.2f} | {1000 * compute:.1f} | {network}"
            lines.append(f"| {recipe} | {facts} | {' | '.join(cells)} |")
    return lines
