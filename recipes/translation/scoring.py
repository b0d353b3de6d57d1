"""How good translations are, against references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sacrebleu

from common.pairs import placeholder_errors, placeholders
from common.types import Tally


def measured(sources: Sequence[str], found: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
    """Scores of translations by sacreBLEU, exact matches, and placeholders that differ from those of the source.

    >>> measured(["%d files", "Yes"], ["%s Dateien", "Ja"], ["%d Dateien", "Ja"])["placeholder_errors"]
    1.0
    """
    bleu, chrf, ter = sacrebleu.BLEU(), sacrebleu.CHRF(), sacrebleu.TER()
    pairs = list(zip(sources, found, strict=True))
    some = [pair for pair in pairs if any(map(placeholders, pair))]
    wrong = sum(any(placeholder_errors(*pair)) for pair in some)
    same = sum(one == other for one, other in zip(found, wanted, strict=True))
    return {
        "bleu": bleu.corpus_score(found, [wanted]).score,
        "chrf": chrf.corpus_score(found, [wanted]).score,
        "ter": ter.corpus_score(found, [wanted]).score,
        "exact_match": same / len(wanted),
        "placeholder_errors": wrong / max(len(some), 1),
        "with_placeholders": len(some),
        "bleu_signature": str(bleu.get_signature()),
    }


def tally(found: Sequence[str], wanted: Sequence[str]) -> Tally:
    """The chrF of `measured`, as the counts of n-grams that each translation adds to it.

    >>> two = tally(["Ja", "Nein"], ["Ja", "Kein"])
    >>> two.of(two.parts).round().tolist()
    [100.0, 48.0]
    """
    chrf = sacrebleu.CHRF()
    # Names that sacreBLEU keeps to itself, by which its own significance tests resample; there are no others.
    counts = chrf._extract_corpus_statistics(found, [wanted])

    def of(sums: np.ndarray) -> np.ndarray:
        return np.apply_along_axis(chrf._compute_f_score, -1, sums)

    return Tally("chrf", True, np.array(counts, np.float64).reshape(len(counts), 3 * chrf.order), of)
