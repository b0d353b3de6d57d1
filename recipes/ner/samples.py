"""Tagged sentences to begin with, in each format that the recipe takes."""

from __future__ import annotations

from common.data.writers import to_json_array, to_jsonl, to_parquet, to_text_lines
from common.inference.annotation_formats import LabelStudioTags, to_doccano_line, to_label_studio_task
from common.text.tag_schemes import tags_to_spans
from common.types import JsonObject

SOURCES = (
    "--data {}/notes.conll",
    "--data {}/notes.conllu --column tags=10",
    "--data {}/notes.jsonl",
    "--data {}/notes.parquet",
    "--data {}/spans.jsonl",
    "--data {}/spans.parquet",
    "--data {}/label-studio.json",
    "--data {}/doccano.jsonl",
)

# Each token, and behind a bar its tag where it has one. A blank stands between any two tokens.
SENTENCES = (
    "Mira|B-PER Okafor|I-PER moved from Leeds|B-LOC to Porto|B-LOC in May .",
    "The invoice went to Halden|B-ORG Bakeries|I-ORG on Monday .",
    "Nobody answered the door .",
    "Call Tomas|B-PER at Northgate|B-ORG Clinic|I-ORG before noon .",
    "We crossed the Drava|B-LOC near Maribor|B-LOC .",
    "Is Ana|B-PER Lindqvist|I-PER still at Fernweh|B-ORG Travel|I-ORG ?",
    "Two crates of lemons arrived from Syracuse|B-LOC .",
    "Pellworth|B-ORG hired Jun|B-PER and Idris|B-PER last week .",
    "Tidewater|B-ORG Rail|I-ORG closed the bridge in New|B-LOC Haven|I-LOC .",
    "Old|B-ORG Mill|I-ORG Press|I-ORG printed the poems of Rosa|B-PER Venn|I-PER .",
)


def files() -> dict[str, bytes]:
    """The content of each file by its name."""
    tagged, spans, conll, conllu = list[JsonObject](), list[JsonObject](), list[str](), list[str]()
    for sentence in SENTENCES:
        parts = [word.partition("|") for word in sentence.split()]
        tokens, tags = [token for token, _, _ in parts], [tag or "O" for _, _, tag in parts]
        tagged.append({"tokens": tokens, "tags": tags})
        starts = [sum(len(token) + 1 for token in tokens[:place]) for place in range(len(tokens))]
        labelled = [
            {"start": starts[first], "end": starts[last - 1] + len(tokens[last - 1]), "label": kind}
            for first, last, kind in tags_to_spans(tags)
        ]
        spans.append({"text": " ".join(tokens), "entities": labelled})
        pairs = list(zip(tokens, tags, strict=True))
        conll += [*(f"{token}\t{tag}" for token, tag in pairs), ""]
        numbered = [[str(number), token, *"_" * 7, tag] for number, (token, tag) in enumerate(pairs, 1)]
        conllu += [f"# text = {' '.join(tokens)}", *map("\t".join, numbered), ""]
    names = LabelStudioTags(None, "text", {"entities": "label"}, "text")
    return {
        "notes.conll": to_text_lines(conll),
        "notes.conllu": to_text_lines(conllu),
        "notes.jsonl": to_jsonl(tagged),
        "notes.parquet": to_parquet(tagged),
        "spans.jsonl": to_jsonl(spans),
        "spans.parquet": to_parquet(spans),
        "label-studio.json": to_json_array(to_label_studio_task(row["text"], row, names) for row in spans),
        "doccano.jsonl": to_jsonl(to_doccano_line(row["text"], row) for row in spans),
    }
