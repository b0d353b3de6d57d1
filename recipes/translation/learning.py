"""What is learned of the training split before training: pieces, and which of them are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from common.data.encoding import ENCODE_BATCH, batch_examples
from common.data.example_file import ExampleFile
from common.text.placeholders import mask_like, mask_placeholders
from common.text.subwords import FIRST, split_target_pieces
from common.text.vocabulary import to_utf8_bytes
from common.types import Example, ExampleSource

from .config import Config

ALIGNED = 64  # ids


class TrainingTexts:
    """The texts of the training split, read once from their source, and what was seen of them."""

    def __init__(self, config: Config, train: ExampleSource):
        self.config, self.train = config, train
        self.pairs, self.placeholders = 0, False
        self.file: ExampleFile | None = None  # of marked texts; None before the first pass

    def read(self, *names: str) -> Iterator[str]:
        """Yield the texts of such fields, their placeholders marked."""
        pairs = self._read_source() if self.file is None else self.file.read()
        for pair in pairs:
            yield from (pair[name] for name in names)

    def _read_source(self) -> Iterator[Example]:
        file = ExampleFile()
        self.pairs = 0
        for batch in batch_examples(self.train, ENCODE_BATCH):
            self.pairs += len(batch)
            sides = {
                name: tf.constant([to_utf8_bytes(example[name]) for example in batch]) for name in ("text", "target")
            }
            if self.config.protect_placeholders:
                sides["text"], masked = mask_placeholders(sides["text"])
                sides["target"] = mask_like(sides["target"], masked)
                self.placeholders = self.placeholders or bool(tf.size(masked))
            for text, target in zip(sides["text"].numpy(), sides["target"].numpy(), strict=True):
                pair = {"text": text.decode("utf-8", "replace"), "target": target.decode("utf-8", "replace")}
                file.append(pair)
                yield pair
        self.file = file


def order_pieces(pieces: Sequence[str], texts: TrainingTexts, always: Iterable[str]) -> tuple[list[str], int]:
    """Return pieces of a joint vocabulary, and how many of the first are to be written: see
    `subwords.split_target_pieces`.

    Some more are, so that the ids are a multiple of `ALIGNED`: of such rows the best are found without padding them.
    """
    ordered, count = split_target_pieces(pieces, texts.read("target"), always)
    ids = FIRST + count
    return ordered, min(ids + -ids % ALIGNED - FIRST, len(ordered))
