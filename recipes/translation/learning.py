"""What is learned of the training split before training: pieces, and which of them are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from common.data.encoding import ENCODE_BATCH, in_batches
from common.text.placeholders import masked, masked_as
from common.text.subwords import FIRST, parted
from common.text.vocabulary import utf8
from common.types import Source

from .config import Config

ALIGNED = 64  # ids


class TrainingTexts:
    """The texts of the training split, and what was seen in the last pass over them."""

    def __init__(self, config: Config, train: Source):
        self.config, self.train = config, train
        self.pairs, self.placeholders = 0, False

    def read(self, *names: str) -> Iterator[str]:
        """Yield the texts of such fields, their placeholders marked."""
        self.pairs = 0
        for batch in in_batches(self.train, ENCODE_BATCH):
            self.pairs += len(batch)
            sides = {name: tf.constant([utf8(example[name]) for example in batch]) for name in ("text", "target")}
            if self.config.placeholders:
                sides["text"], kept = masked(sides["text"])
                sides["target"] = masked_as(sides["target"], kept)
                self.placeholders = self.placeholders or bool(tf.size(kept))
            for row in zip(*(sides[name].numpy() for name in names), strict=True):
                yield from (side.decode("utf-8", "replace") for side in row)


def order_pieces(pieces: Sequence[str], texts: TrainingTexts, always: Iterable[str]) -> tuple[list[str], int]:
    """Return pieces of a joint vocabulary, and how many of the first are to be written: see `subwords.parted`.

    Some more are, so that the ids are a multiple of `ALIGNED`: of such rows the best are found without padding them.
    """
    ordered, count = parted(pieces, texts.read("target"), always)
    ids = FIRST + count
    return ordered, min(ids + -ids % ALIGNED - FIRST, len(ordered))
