"""Texts and labels to begin with, in each format that the recipe takes."""

from __future__ import annotations

from common.data.writers import to_json_array, to_jsonl, to_table_files, to_text_lines
from common.inference.annotation_formats import LabelStudioTags, to_doccano_line, to_label_studio_task

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
    contents = to_table_files("reviews", rows)
    for number, (text, label) in enumerate(REVIEWS, 1):
        contents[f"reviews/{label}/{number:02}.txt"] = to_text_lines([text])
    contents["texts.txt"] = to_text_lines(text for text, _ in REVIEWS)
    contents["labels.txt"] = to_text_lines(label for _, label in REVIEWS)
    names = LabelStudioTags(None, "text", {"label": "sentiment"}, "text")
    contents["label-studio.json"] = to_json_array(to_label_studio_task(row["text"], row, names) for row in rows)
    contents["doccano.jsonl"] = to_jsonl(to_doccano_line(row["text"], row) for row in rows)
    return contents
