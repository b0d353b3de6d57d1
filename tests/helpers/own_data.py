"""A recipe's own data, and splits of what is given in its place."""

from typing import Any

from common.config import RunConfig
from common.data import splitting
from common.types import ExampleSource, Field

FIELDS = (Field("text", "text", ("review",)), Field("label", "label", ("stars",)))


def own() -> tuple[ExampleSource, dict[str, str]]:
    return ExampleSource("own data", lambda: iter([{"text": f"t{i}", "label": "a"} for i in range(100)])), {
        "licence": "MIT"
    }


def parts(**settings: Any) -> list[Any]:
    """(train, valid, test) texts; None for a part that there is not."""
    found = splitting.load_splits(RunConfig(**settings), FIELDS, own)
    return [part and [example["text"] for example in part] for part in (found.train, found.valid, found.test)]
