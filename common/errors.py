"""What goes wrong, in the user's words: each message says what was found, where, and what to do."""

import difflib
from collections.abc import Iterable

LOST = 75  # exit status of a worker that lost the others: EX_TEMPFAIL of sysexits.h, worth another try


class ConfigError(ValueError):
    """A value that a person typed cannot be used; exit status 2."""


class DataError(ValueError):
    """The data is missing, damaged or not what the recipe needs; exit status 1."""


class RunError(ValueError):
    """A run directory, checkpoint or export is missing, damaged or of another kind; exit status 1."""


class TrainingError(ValueError):
    """Training cannot go on, such as a loss that is no number; exit status 1."""


class WorkerLostError(Exception):
    """Another process of the same training is gone, so this one cannot go on; exit status 75, to be tried again."""


class Interrupted(Exception):
    """The user asked to stop and the work was left in order; exit status 1."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a sentence that offers the nearest known word, or nothing.

    >>> did_you_mean("sentimnet", ["sentiment", "ner"])
    ' Did you mean "sentiment"?'
    >>> did_you_mean("zebra", ["sentiment", "ner"])
    ''
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f' Did you mean "{near[0]}"?' if near else ""
