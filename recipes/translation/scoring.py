"""How good translations are, against references."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

import numpy as np
import sacrebleu

from common.modeling.heads import Head
from common.modeling.metrics import in_order
from common.modeling.uncertainty import of_confidence
from common.text.pair_filter import placeholder_errors, placeholders
from common.text.vocabulary import strange
from common.types import Ask, Assets, Example, JsonObject, OutputRow, Tally

# Of the most frequent words of a text 0.6 to 1 were pieces of a vocabulary of their own language (Multi30k's, of 4,000
# pieces), of other texts, too, and 0.1 to 0.35 of one of another language in the same script.
FAMILIAR = 0.45


class TranslationHead(Head):
    """Translations against references.

    Args:
      assets: of the recipe.
    """

    def __init__(self, assets: Assets):
        self.assets = assets

    def compute_metrics(self, batches: Iterable[list[Example]], ask: Ask) -> JsonObject:
        """Compute the metrics; seconds are those of serving_default, without tracing, for it is asked once before."""
        texts, translations, references = list[str](), list[str](), list[str]()
        seconds, log_prob, pieces = 0.0, 0.0, 0
        for batch in batches:
            if not references:
                list(ask("serving_default", batch[:1]))
            began = time.perf_counter()
            answers = list(ask("serving_default", batch))
            seconds += time.perf_counter() - began
            for positions, outputs in answers:
                translations += [translation.decode("utf-8", "replace") for translation in outputs["translation"]]
                references += [batch[at]["target"] for at in positions]
                texts += [batch[at]["text"] for at in positions]
            for _, outputs in ask("likelihood", batch):
                log_prob += float(outputs["log_prob"].sum(dtype=float))
                pieces += int(outputs["pieces"].sum())
        if not references:
            return {"examples": 0}
        return {
            **measured(texts, translations, references),
            "perplexity": math.exp(-log_prob / pieces),
            "seconds": seconds,
            "sentences_per_second": len(references) / seconds,
            "examples": len(references),
        }

    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> Tally:
        translations, references = list[str](), list[str]()
        for batch in batches:
            translations += [text_of(outputs) for outputs in in_order(ask, "serving_default", batch)]
            references += [example["target"] for example in batch]
        return tally(translations, references)

    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        return {"translation": text_of(outputs), "score": float(outputs["score"])}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        """By the score, a log probability that --length-penalty brings nearer to that of a piece."""
        return of_confidence(math.exp(min(float(outputs["score"]), 0.0)), by)

    def data_warnings(self) -> list[str]:
        shares = self.assets.get("familiar", {})
        return [line for name, share in shares.items() for line in strange(share, FAMILIAR, name)]


def text_of(outputs: OutputRow) -> str:
    """Return the translation in one row of serving_default."""
    return outputs["translation"].decode("utf-8", "replace")


def measured(sources: Sequence[str], found: Sequence[str], wanted: Sequence[str]) -> JsonObject:
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

    def score(sums: np.ndarray) -> float:
        return chrf._compute_f_score(sums.tolist())

    def of(sums: np.ndarray) -> np.ndarray:
        return np.apply_along_axis(score, -1, sums)

    return Tally("chrf", True, np.array(counts, np.float64).reshape(len(counts), 3 * chrf.order), of)
