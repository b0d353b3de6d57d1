"""What translation data means: a sentence and its translation; and the default set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from common.data.default_datasets import Archive, attribution_info, download_archive
from common.data.readers.gettext import open_gettext
from common.errors import ConfigError, did_you_mean
from common.row_errors import RowErrors
from common.text.languages import base_language, language_column_names, normalize_language_tag
from common.types import Example, ExampleSource, Field

FIELDS = (
    Field("text", "text", ("source", "src", "source_text", "source_sentence", "original", "input", "input_text")),
    Field("target", "text", ("tgt", "trg", "target_text", "target_sentence", "translation", "reference", "output")),
)

# The languages that both archives have: by our code that of Indico; Django's is ours.
LANGUAGES = {
    "cs": "cs_CZ",
    "de": "de_DE",
    "es": "es_ES",
    "fr": "fr_FR",
    "it": "it_IT",
    "mn": "mn_MN",
    "pl": "pl_PL",
    "pt_BR": "pt_BR",
    "tr": "tr_TR",
    "uk": "uk_UA",
    "zh_Hans": "zh_Hans_CN",
}
CATALOGUES = (
    "conf django",
    "admin django",
    "admin djangojs",
    "admindocs django",
    "auth django",
    "contenttypes django",
    "flatpages django",
    "gis django",
    "humanize django",
    "postgres django",
    "redirects django",
    "sessions django",
    "sites django",
)


def _django_members() -> dict[str, str]:
    """Return Django's catalogues of all languages, by their names in the cache."""
    members = {}
    for code in LANGUAGES:
        for application, name in (names.split() for names in CATALOGUES):
            folder = "conf" if application == "conf" else f"contrib/{application}"
            members[f"{code}.{application}.{name}.mo"] = f"django/{folder}/locale/{code}/LC_MESSAGES/{name}.mo"
    return members


INDICO = Archive(
    package="indico",
    version="3.2.9",
    kind="wheel",
    filename="indico-3.2.9-py3-none-any.whl",
    sha256="194d2e31ccaabd2b9af7809e67d60d942faee35a6b4de36f0c2c280a32ed84c3",
    members={f"{code}.mo": f"indico/translations/{own}/LC_MESSAGES/messages.mo" for code, own in LANGUAGES.items()},
    licence="MIT",
    source="Messages of Indico and their translations: CERN and the Indico community",
)
DJANGO = Archive(
    package="django",
    version="5.2",
    kind="wheel",
    filename="Django-5.2-py3-none-any.whl",
    sha256="91ceed4e3a6db5aedced65e3c8f963118ea9ba753fc620831c77074e620e7d83",
    members=_django_members(),
    licence="BSD-3-Clause",
    source="Messages of Django and their translations: Django Software Foundation and individual contributors",
)
ARCHIVES = (INDICO, DJANGO)  # what `make setup` fetches


def make_fields(source_language: str | None = None, target_language: str | None = None) -> tuple[Field, Field]:
    """Return FIELDS for languages by their codes, so that columns and texts are found that are named by these."""
    named = [
        dataclasses.replace(field, aliases=(*language_column_names(language), *field.aliases)) if language else field
        for field, language in zip(FIELDS, (source_language, target_language), strict=True)
    ]
    return named[0], named[1]


def load_message_catalogs(target_language: str = "de", offline: bool = False) -> tuple[ExampleSource, dict[str, str]]:
    """Return English messages of programs with their translations, each pair once, and their attribution.

    A message that is translated by itself is left out, for most of these are just not translated. Placeholders and
    markup stay as they are. Plural forms are pairs of their own.

    Args:
      target_language: a code such as "de" or "pt_BR".

    Raises:
      ConfigError: there is no catalogue in that language.
      DataError: an archive cannot be fetched.
    """
    code = _language(target_language)
    paths = [download_archive(INDICO, offline) / f"{code}.mo"]
    folder = download_archive(DJANGO, offline)
    paths += [folder / name for name in DJANGO.members if name.startswith(f"{code}.")]
    row_errors = RowErrors()
    attributions = [attribution_info(archive) for archive in ARCHIVES]
    joined = {key: "; ".join(attribution[key] for attribution in attributions) for key in attributions[0]}
    source = ExampleSource(f"English messages in {code}", lambda: _pairs(paths, row_errors), row_errors)
    return source, joined | {"language": code}


def _language(wanted: str) -> str:
    """Return the code of a language in the archives: "de_AT" and "German" are "de", but "pt_PT" is not "pt_BR"."""
    for code, own in LANGUAGES.items():
        exact = normalize_language_tag(wanted) in (
            base_language(code),
            normalize_language_tag(code),
            normalize_language_tag(own),
        )
        if exact or ("_" not in code and base_language(wanted) == code):
            return code
    listed = ", ".join(LANGUAGES)
    raise ConfigError(
        f'--target-language is "{wanted}", but the default data has only: {listed}.'
        f"{did_you_mean(wanted, LANGUAGES)} Give --data for another."
    )


def _pairs(paths: list[Path], row_errors: RowErrors) -> Iterator[Example]:
    row_errors.clear()
    seen: set[tuple[str, str]] = set()
    for path in paths:
        for _, pair in open_gettext(path, FIELDS, None, row_errors).rows():
            key = pair["text"], pair["target"]
            if key[0] == key[1]:
                row_errors.count_filtered("with two equal sides")
            elif key in seen:
                row_errors.count_filtered("that repeat another")
            else:
                seen.add(key)
                yield pair
