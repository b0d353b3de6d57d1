"""A run for people: curves for TensorBoard, and one HTML page that needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import comparison
from common.files import replacing
from common.progress import duration
from common.runs import Run

MOST_LABELS = 40  # a confusion matrix larger than this is not drawn

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
 body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b1f24; }
 h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
 .sub { color: #57606a; margin-top: .2rem; overflow-wrap: anywhere; }
 .tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
 .tile { border: 1px solid #d0d7de; border-radius: 8px; padding: .6rem 1rem; min-width: 8rem; }
 .tile b { display: block; font-size: 1.5rem; } .tile span { color: #57606a; font-size: .9rem; }
 table { border-collapse: collapse; } .scroll { overflow-x: auto; }
 th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #d8dee4; }
 th:first-child, td:first-child { text-align: left; } td.hit { font-weight: 600; }
 img { max-width: 100%; height: auto; } details { margin-top: 1rem; } code { overflow-wrap: anywhere; }
</style>
<h1>{{ title }}</h1>
<p class="sub">{{ subtitle }}</p>
<div class="tiles">
{% for tile in tiles %}<div class="tile"><b>{{ tile.value }}</b><span>{{ tile.name }}</span></div>
{% endfor %}</div>
{% if curves %}<h2>Training</h2>
<img alt="{{ curves_text }}" src="data:image/svg+xml;base64,{{ curves }}">{% endif %}
{% if comparison %}<h2>Fine-tuned and not</h2>
<p>With intervals of 95% over the examples (bootstrap).</p>
<div class="scroll"><table><tr>{% for name in comparison.headings %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in comparison.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% for verdict in comparison.verdicts %}<p>{{ verdict }}</p>
{% endfor %}{% endif %}
{% if folds %}<h2>{{ folds.count }} folds</h2>
<div class="scroll"><table><tr><th>measure</th><th>mean</th><th>standard deviation</th></tr>
{% for name, one in folds.measures.items() %}<tr><td>{{ name.replace("_", " ") }}</td>
<td>{{ "%.4f"|format(one.mean) }}</td><td>{{ "%.4f"|format(one.deviation) }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% for part in parts %}<h2>{{ part.name }} part, {{ part.examples }} examples</h2>
<div class="scroll"><table><tr>{% for name in part.scalars %}<th>{{ name }}</th>{% endfor %}</tr>
<tr>{% for value in part.scalars.values() %}<td>{{ value }}</td>{% endfor %}</tr></table></div>
{% if part.per %}<h3>Per {{ part.kind }}</h3><div class="scroll"><table>
<tr><th>{{ part.kind }}</th><th>precision</th><th>recall</th><th>F1</th><th>examples</th></tr>
{% for label, m in part.per.items() %}<tr><td>{{ label }}</td><td>{{ "%.3f"|format(m.precision) }}</td>
<td>{{ "%.3f"|format(m.recall) }}</td><td>{{ "%.3f"|format(m.f1) }}</td><td>{{ m.support }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if part.confusion %}<h3>Confusion matrix</h3><div class="scroll"><table>
<tr><th>true, predicted</th>{% for label in part.confusion.columns %}<th>{{ label }}</th>
{% endfor %}</tr>
{% for label, row in part.confusion.rows %}<tr><td>{{ label }}</td>
{% for cell in row %}<td{% if cell.hit %} class="hit"{% endif %}
 style="background: rgba(9, 105, 218, {{ cell.shade }})">{{ cell.count }}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endif %}
{% endfor %}
<details><summary>Data, settings and versions</summary>
{% for note in notes %}<p>{{ note }}</p>{% endfor %}
<table>{% for name, value in settings.items() %}<tr><td>{{ name }}</td><td><code>{{ value }}</code></td></tr>
{% endfor %}</table></details>
</html>
"""


class Curves:
    """Scalars by epoch, where TensorBoard looks for them."""

    def __init__(self, folder: Path):
        import tensorflow as tf

        self.tf, self.writer = tf, tf.summary.create_file_writer(str(folder))
        # What TensorBoard's scalar plugin wants beside a value; tf.summary.scalar would need TensorBoard installed.
        self.kind = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
        )

    def add(self, epoch: int, facts: Mapping[str, Any]) -> None:
        """Writes an epoch's numbers."""
        with self.writer.as_default():
            for name, value in facts.items():
                if isinstance(value, float):
                    self.tf.summary.write(name, self.tf.constant(value), step=epoch, metadata=self.kind)
        self.writer.flush()


def _curves(history: list[dict[str, Any]]) -> str:
    """Loss and the validation measures by epoch, as base64 of an SVG; empty for less than two epochs."""
    if len(history) < 2:
        return ""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [facts["epoch"] for facts in history]
    hidden = ("valid_loss", "valid_log_loss", "valid_calibration_error")
    valid = {name: value for name, value in history[0].items() if name.startswith("valid_") and name not in hidden}
    shares = [name for name, value in valid.items() if isinstance(value, float)]  # counts would flatten them
    for axis, names in ((left, ["loss", "valid_loss"]), (right, shares)):
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


def _confusion(matrix: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not matrix or len(matrix["labels"]) > MOST_LABELS:
        return None
    rows = []
    for index, (label, counts) in enumerate(zip(matrix["labels"], matrix["rows"], strict=True)):
        total = max(sum(counts), 1)
        cells = [{"count": n, "shade": round(0.55 * n / total, 3), "hit": i == index} for i, n in enumerate(counts)]
        rows.append((label, cells))
    return {"columns": matrix["labels"][: len(matrix["rows"][0])], "rows": rows}


def _comparison(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    headings, rows = comparison.table(found)
    return {"headings": headings, "rows": rows, "verdicts": comparison.verdicts(found)}


def write_report(run: Run, metrics: Mapping[str, Any]) -> None:
    """Writes report.html into the run's folder."""
    from jinja2 import Environment

    history = run.history()
    parts = []
    for name in ("test", "valid"):
        if name in metrics:
            measured = metrics[name]
            per = next((key for key in measured if key.startswith("per_")), "")
            parts.append(
                {
                    "name": {"test": "Test", "valid": "Validation"}[name],
                    "examples": f"{metrics['examples'][name]:,}",
                    "scalars": {k.replace("_", " "): f"{v:.4f}" for k, v in measured.items() if isinstance(v, float)},
                    "kind": per.removeprefix("per_"),
                    "per": measured.get(per),
                    "confusion": _confusion(measured.get("confusion_matrix")),
                }
            )
    tiles = [
        {"name": f"{k}, {p['name'].lower()}", "value": v} for p in parts[:1] for k, v in list(p["scalars"].items())[:2]
    ]
    tiles += [
        {"name": "training", "value": duration(metrics["seconds"]["training"])},
        {"name": "epochs", "value": len(history)},
        {"name": "training examples", "value": f"{metrics['examples']['train']:,}"},
    ]
    page = Environment(autoescape=True).from_string(_PAGE)
    curves = _curves(history)
    last = history[-1] if history else {}
    text = page.render(
        title=f"{Path(run.about['recipe']).name.replace('_', ' ').capitalize()} run",
        subtitle=f"{run.path}, begun {run.about.get('created', '')}",
        tiles=tiles,
        curves=curves,
        curves_text=f"Loss and validation measures over {len(history)} epochs; last loss {last.get('loss', 0):.4f}.",
        parts=parts,
        comparison=_comparison(metrics.get("comparison")),
        folds=metrics.get("folds"),
        notes=[*run.about["data"]["notes"], *(f"{k}: {v}" for k, v in run.about["data"]["attribution"].items())],
        settings=run.about["settings"] | run.about["versions"],
    )
    with replacing(run.path / "report.html", "w") as file:
        file.write(text)
