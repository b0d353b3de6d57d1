"""What translation data means: a sentence and its translation; and the default set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from common.data.default_datasets import Archive, attribution, fetch
from common.data.readers.gettext import catalogue
from common.errors import ConfigError, suggestion
from common.row_errors import Problems
from common.text.languages import base, names, tag
from common.types import Example, Field, Source

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
    """Django's catalogues of all languages, by their names in the cache."""
    found = {}
    for code in LANGUAGES:
        for application, name in (one.split() for one in CATALOGUES):
            folder = "conf" if application == "conf" else f"contrib/{application}"
            found[f"{code}.{application}.{name}.mo"] = f"django/{folder}/locale/{code}/LC_MESSAGES/{name}.mo"
    return found


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


def fields(source_language: str | None = None, target_language: str | None = None) -> tuple[Field, Field]:
    """FIELDS for languages by their codes, so that columns, features and texts are found that are named by these."""
    named = [
        dataclasses.replace(field, names=(*names(language), *field.names)) if language else field
        for field, language in zip(FIELDS, (source_language, target_language), strict=True)
    ]
    return named[0], named[1]


def catalogues(target_language: str = "de", offline: bool = False) -> tuple[Source, dict[str, str]]:
    """English messages of programs with their translations, each pair once, and their attribution.

    A message that is translated by itself is left out, for most of these are just not translated. Placeholders and
    markup stay as they are. Plural forms are pairs of their own.

    Args:
      target_language: a code such as "de" or "pt_BR".

    Raises:
      ConfigError: there is no catalogue in that language.
      DataError: an archive cannot be fetched.
    """
    code = _language(target_language)
    paths = [fetch(INDICO, offline) / f"{code}.mo"]
    folder = fetch(DJANGO, offline)
    paths += [folder / name for name in DJANGO.members if name.startswith(f"{code}.")]
    problems = Problems()
    attributions = [attribution(archive) for archive in ARCHIVES]
    joined = {key: "; ".join(one[key] for one in attributions) for key in attributions[0]}
    source = Source(f"English messages in {code}", lambda: _pairs(paths, problems), problems)
    return source, joined | {"language": code}


def _language(wanted: str) -> str:
    """The code of a language that the archives have: "de_AT" and "German" are "de", but "pt_PT" is not "pt_BR"."""
    for code, own in LANGUAGES.items():
        exact = tag(wanted) in (base(code), tag(code), tag(own))
        if exact or ("_" not in code and base(wanted) == code):
            return code
    listed = ", ".join(LANGUAGES)
    raise ConfigError(
        f'--target-language is "{wanted}", but the default data has only: {listed}.'
        f"{suggestion(wanted, LANGUAGES)} Give --data for another."
    )


def _pairs(paths: list[Path], problems: Problems) -> Iterator[Example]:
    problems.clear()
    seen: set[tuple[str, str]] = set()
    for path in paths:
        for _, pair in catalogue(path, FIELDS, None, problems).rows():
            key = pair["text"], pair["target"]
            if key[0] == key[1]:
                problems.leave_out("with two equal sides")
            elif key in seen:
                problems.leave_out("that repeat another")
            else:
                seen.add(key)
                yield pair
