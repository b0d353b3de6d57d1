"""Texts and their translations to begin with, in each format that the recipe takes."""

from __future__ import annotations

from common.data.writers import to_gettext_files, to_table_files, to_text_lines, to_tmx

SOURCES = (
    "--data {}/pairs.tsv",
    "--data {}/pairs.csv",
    "--data {}/pairs.jsonl",
    "--data {}/pairs.parquet",
    "--data {}/pairs.en,{}/pairs.de",
    "--data {}/messages.po",
    "--data {}/messages.mo",
    "--data {}/memory.tmx",
)

PAIRS = (
    ("Where did I leave my keys?", "Wo habe ich meine Schlüssel gelassen?"),
    ("{count} photos were copied to your phone.", "{count} Fotos wurden auf dein Telefon kopiert."),
    ("The bakery opens at half past six.", "Die Bäckerei öffnet um halb sieben."),
    ("Cancel", "Abbrechen"),
    ("Please take your shoes off before you come in.", "Bitte zieh die Schuhe aus, bevor du hereinkommst."),
    ("This link has expired.", "Dieser Link ist abgelaufen."),
    ("My sister says the lake is frozen.", "Meine Schwester sagt, der See sei zugefroren."),
    ("Welcome back, %(name)s!", "Willkommen zurück, %(name)s!"),
    ("Add a pinch of salt & stir.", "Eine Prise Salz dazugeben & umrühren."),
    ("The last bus left without us.", "Der letzte Bus ist ohne uns gefahren."),
)


def files() -> dict[str, bytes]:
    """The content of each file by its name."""
    return {
        **to_table_files("pairs", [{"source": source, "target": target} for source, target in PAIRS]),
        "pairs.en": to_text_lines(source for source, _ in PAIRS),
        "pairs.de": to_text_lines(target for _, target in PAIRS),
        **to_gettext_files("messages", PAIRS, "de"),
        "memory.tmx": to_tmx(PAIRS, "en", "de"),
    }
