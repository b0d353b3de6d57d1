"""A run for people: curves for TensorBoard, and one HTML page that needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from common.reports.compare import format_conclusions, format_table
from common.runtime.atomic_io import atomic_write
from common.runtime.console import format_duration
from common.runtime.run_dir import Run
from common.types import JsonObject

MAX_LABELS = 40  # a confusion matrix larger than this is not drawn
TEMPLATE = Path(__file__).with_suffix(".html.j2")


class TensorBoardWriter:
    """Scalars by epoch, where TensorBoard looks for them."""

    def __init__(self, folder: Path):
        import tensorflow as tf

        self.tf, self.writer = tf, tf.summary.create_file_writer(str(folder))
        # What TensorBoard's scalar plugin wants beside a value; tf.summary.scalar would need TensorBoard installed.
        self.kind = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
        )

    def add(self, epoch: int, facts: Mapping[str, object]) -> None:
        """Write an epoch's numbers."""
        with self.writer.as_default():
            for name, value in facts.items():
                if isinstance(value, float):
                    self.tf.summary.write(name, self.tf.constant(value), step=epoch, metadata=self.kind)
        self.writer.flush()


def _draw_curves(history: list[JsonObject]) -> str:
    """Draw loss and validation metrics by epoch, as base64 of an SVG; empty for less than two epochs."""
    if len(history) < 2:
        return ""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [facts["epoch"] for facts in history]
    hidden = ("valid_loss", "valid_log_loss", "valid_calibration_error")
    valid = {name: value for name, value in history[0].items() if name.startswith("valid_") and name not in hidden}
    scores = [name for name, value in valid.items() if isinstance(value, float)]  # counts would flatten them
    for axis, names in ((left, ["loss", "valid_loss"]), (right, scores)):
        for name in names:
            if name in history[0]:
                axis.plot(epochs, [facts.get(name) for facts in history], label=name.replace("_", " "))
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        if axis.lines:
            axis.legend(frameon=False)
        else:
            axis.set_axis_off()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg")
    return base64.b64encode(drawn.getvalue()).decode()


def _format_confusion(matrix: JsonObject | None) -> JsonObject | None:
    if not matrix or len(matrix["labels"]) > MAX_LABELS:
        return None
    rows = []
    for index, (label, counts) in enumerate(zip(matrix["labels"], matrix["rows"], strict=True)):
        total = max(sum(counts), 1)
        cells = [{"count": n, "shade": round(0.55 * n / total, 3), "hit": i == index} for i, n in enumerate(counts)]
        rows.append((label, cells))
    return {"columns": matrix["labels"][: len(matrix["rows"][0])], "rows": rows}


def _format_comparison(compared: JsonObject | None) -> JsonObject | None:
    if not compared:
        return None
    headings, rows = format_table(compared)
    return {"headings": headings, "rows": rows, "verdicts": format_conclusions(compared)}


def _format_splits(metrics: JsonObject) -> list[JsonObject]:
    """Return the metrics of each split that was scored, the test split first."""
    titles = {"test": "Test", "valid": "Validation"}
    splits = []
    for name in (name for name in titles if name in metrics):
        measured = metrics[name]
        per = next((key for key in measured if key.startswith("per_")), "")
        scalars = {k.replace("_", " "): f"{v:.4f}" for k, v in measured.items() if isinstance(v, float)}
        split = {"name": titles[name], "examples": f"{metrics['examples'][name]:,}", "scalars": scalars}
        split |= {"kind": per.removeprefix("per_"), "per": measured.get(per)}
        splits.append(split | {"confusion": _format_confusion(measured.get("confusion_matrix"))})
    return splits


def _format_tiles(metrics: JsonObject, splits: list[JsonObject], epochs: int) -> list[JsonObject]:
    """Return what stands at the top: two scores, and how long it took."""
    tiles = [
        {"name": f"{name}, {split['name'].lower()}", "value": value}
        for split in splits[:1]
        for name, value in list(split["scalars"].items())[:2]
    ]
    return [
        *tiles,
        {"name": "training", "value": format_duration(metrics["seconds"]["training"])},
        {"name": "epochs", "value": epochs},
        {"name": "training examples", "value": f"{metrics['examples']['train']:,}"},
    ]


def write_report(run: Run, metrics: JsonObject) -> None:
    """Write report.html into the run's folder."""
    from jinja2 import Environment

    history, splits = run.history(), _format_splits(metrics)
    last, data = history[-1] if history else {}, run.metadata["data"]
    page = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = page.render(
        title=f"{Path(run.metadata['recipe']).name.replace('_', ' ').capitalize()} run",
        subtitle=f"{run.path}, begun {run.metadata.get('created', '')}",
        tiles=_format_tiles(metrics, splits, len(history)),
        curves=_draw_curves(history),
        curves_text=f"Loss and validation measures over {len(history)} epochs; last loss {last.get('loss', 0):.4f}.",
        splits=splits,
        comparison=_format_comparison(metrics.get("comparison")),
        folds=metrics.get("folds"),
        notes=[*data["descriptions"], *(f"{name}: {text}" for name, text in data["attribution"].items())],
        settings=run.metadata["settings"] | run.metadata["versions"],
    )
    with atomic_write(run.path / "report.html", "w") as file:
        file.write(text)
