"""What sentiment data means: a text and its label; and the default set."""

from __future__ import annotations

from collections.abc import Iterator

from common.data.default_datasets import Archive, attribution_info, download_archive
from common.row_errors import RowErrors
from common.types import Example, ExampleSource, Field

FIELDS = (
    Field(
        "text", "text", ("review", "sentence", "tweet", "comment", "content", "message", "body", "snippet", "document")
    ),
    Field(
        "label",
        "label",
        ("sentiment", "class", "category", "rating", "stars", "target", "polarity", "score", "emotion"),
    ),
)

SNIPPETS = Archive(
    package="vaderSentiment",
    version="3.3.2",
    kind="sdist",
    filename="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    members={
        "movie_snippets.tsv": (
            "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
            "!hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
        )
    },
    licence="MIT",
    source="Movie review snippets, each rated by 20 people: C.J. Hutto and E.E. Gilbert, VADER, ICWSM 2014",
)
ARCHIVES = (SNIPPETS,)  # what `make setup` fetches


def load_movie_reviews(offline: bool = False) -> tuple[ExampleSource, dict[str, str]]:
    """Movie review snippets and their attribution; a mean rating above 0 is "pos", below is "neg", zeros are dropped.

    Raises:
      DataError: the archive cannot be fetched.
    """
    path = download_archive(SNIPPETS, offline) / "movie_snippets.tsv"

    def read() -> Iterator[Example]:
        # One row a line: number, mean rating from -4 to 4, text. Quotes mean nothing.
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            for line in file:
                _, rating, text = line.rstrip("\r\n").split("\t", 2)
                if float(rating):
                    yield {"text": text, "label": "pos" if float(rating) > 0 else "neg"}

    return ExampleSource("movie review snippets", read, RowErrors()), attribution_info(SNIPPETS)
