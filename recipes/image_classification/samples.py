"""Small drawings of rings and crosses to begin with, in each format that the recipe takes."""

from __future__ import annotations

import numpy as np

from common.data.readers.image_bytes import encode_png
from common.data.writers import to_csv, to_idx, to_jsonl, to_text_lines, to_zip

SOURCES = (
    "--data {}/shapes",
    "--data {}/shapes.csv",
    "--data {}/shapes.jsonl",
    "--data {}/shapes.zip",
    "--data {}/shapes-images-idx3-ubyte --label-names {}/names.txt",
)

LABELS = ("cross", "ring")
EACH, SIDE = 5, 24  # drawings of a label, and pixels of a side


def drawing(label: str, number: int) -> np.ndarray:
    """Shades, uint8 [SIDE, SIDE]: a cross or a ring, dark on light, each of another size and place."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE // 2 - 2 + number)
    radius = 6 + number % 3
    near = np.maximum(abs(rows), abs(columns)) <= radius
    if label == "ring":
        inked = abs(np.hypot(rows, columns) - radius) < 1.5
    else:
        inked = near & (np.minimum(abs(rows), abs(columns)) <= 1)
    return np.where(inked, 30 + 10 * number, 230).astype(np.uint8)


def files() -> dict[str, bytes]:
    """The content of each file by its name."""
    drawings = [(label, drawing(label, number)) for label in LABELS for number in range(EACH)]
    pictures = {
        f"shapes/{label}/{number}.png": encode_png(pixels) for number, (label, pixels) in enumerate(drawings, 1)
    }
    rows = [{"path": path, "label": label} for path, (label, _) in zip(pictures, drawings, strict=True)]
    return {
        **pictures,
        "shapes.csv": to_csv(rows),
        "shapes.jsonl": to_jsonl(rows),
        "shapes.zip": to_zip(pictures),
        "shapes-images-idx3-ubyte": to_idx([pixels for _, pixels in drawings]),
        "shapes-labels-idx1-ubyte": to_idx([LABELS.index(label) for label, _ in drawings]),
        "names.txt": to_text_lines(LABELS),
    }
