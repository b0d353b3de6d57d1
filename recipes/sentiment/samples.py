"""Texts and labels to begin with, in each format that the recipe takes."""

from __future__ import annotations

from common.data.writers import json_lines, json_list, lines, tables
from common.inference.annotation_formats import Names, doccano, label_studio

SOURCES = (
    "--data {}/reviews.csv",
    "--data {}/reviews.tsv",
    "--data {}/reviews.jsonl",
    "--data {}/reviews.parquet",
    "--data {}/reviews",
    "--data {}/texts.txt,{}/labels.txt",
    "--data {}/label-studio.json",
    "--data {}/doccano.jsonl",
)

REVIEWS = (
    ("The soup was hot, the bread was fresh, and nobody hurried us.", "pos"),
    ("Cold chips, and the waiter rolled his eyes.", "neg"),
    ("I have worn these boots through two winters and they still keep the water out.", "pos"),
    ("It broke on the second day.", "neg"),
    ("Best birthday present in years - my daughter won't put it down!", "pos"),
    ("Forty minutes on hold, then they hung up on me.", "neg"),
    ("A quiet film that stays with you.", "pos"),
    ("Not worth half of what I paid for it.", "neg"),
    ("Our guide knew every bird by its song; we would book again tomorrow.", "pos"),
    ('The "sea view" was a wall with a poster of the sea.', "neg"),
)


def files() -> dict[str, bytes]:
    """The content of each file by its name."""
    rows = [{"text": text, "label": label} for text, label in REVIEWS]
    contents = tables("reviews", rows)
    for number, (text, label) in enumerate(REVIEWS, 1):
        contents[f"reviews/{label}/{number:02}.txt"] = lines([text])
    contents["texts.txt"] = lines(text for text, _ in REVIEWS)
    contents["labels.txt"] = lines(label for _, label in REVIEWS)
    names = Names(None, "text", {"label": "sentiment"}, "text")
    contents["label-studio.json"] = json_list(label_studio(row["text"], row, names) for row in rows)
    contents["doccano.jsonl"] = json_lines(doccano(row["text"], row) for row in rows)
    return contents
