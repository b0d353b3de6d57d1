"""How good translations are, against references."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

import numpy as np
import sacrebleu

from common.modeling.heads import Head
from common.modeling.metrics import collect_in_order
from common.modeling.uncertainty import confidence_uncertainty
from common.text.pair_filter import diff_placeholders, find_placeholders
from common.text.vocabulary import unfamiliar_words_warning
from common.types import Ask, Assets, Example, JsonObject, OutputRow, PerExampleMetric

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
            **compute_metrics(texts, translations, references),
            "perplexity": math.exp(-log_prob / pieces),
            "seconds": seconds,
            "sentences_per_second": len(references) / seconds,
            "examples": len(references),
        }

    def per_example_metric(self, batches: Iterable[list[Example]], ask: Ask) -> PerExampleMetric:
        translations, references = list[str](), list[str]()
        for batch in batches:
            translations += [text_of(outputs) for outputs in collect_in_order(ask, "serving_default", batch)]
            references += [example["target"] for example in batch]
        return per_example_chrf(translations, references)

    def format_prediction(self, example: Example, outputs: OutputRow) -> JsonObject:
        return {"translation": text_of(outputs), "score": float(outputs["score"])}

    def uncertainty(self, outputs: OutputRow, by: str | None) -> float:
        """By the score, a log probability that --length-penalty brings nearer to that of a piece."""
        return confidence_uncertainty(math.exp(min(float(outputs["score"]), 0.0)), by)

    def data_warnings(self) -> list[str]:
        fractions = self.assets.get("known_word_fraction", {})
        return [
            line for name, fraction in fractions.items() for line in unfamiliar_words_warning(fraction, FAMILIAR, name)
        ]


def text_of(outputs: OutputRow) -> str:
    """Return the translation in one row of serving_default."""
    return outputs["translation"].decode("utf-8", "replace")


def compute_metrics(sources: Sequence[str], translations: Sequence[str], references: Sequence[str]) -> JsonObject:
    """Return scores of translations by sacreBLEU, exact matches, and placeholders that differ from those of the source.

    >>> compute_metrics(["%d files", "Yes"], ["%s Dateien", "Ja"], ["%d Dateien", "Ja"])["placeholder_errors"]
    1.0
    """
    bleu, chrf, ter = sacrebleu.BLEU(), sacrebleu.CHRF(), sacrebleu.TER()
    pairs = list(zip(sources, translations, strict=True))
    with_placeholders = [pair for pair in pairs if any(map(find_placeholders, pair))]
    wrong = sum(any(diff_placeholders(*pair)) for pair in with_placeholders)
    same = sum(translation == reference for translation, reference in zip(translations, references, strict=True))
    return {
        "bleu": bleu.corpus_score(translations, [references]).score,
        "chrf": chrf.corpus_score(translations, [references]).score,
        "ter": ter.corpus_score(translations, [references]).score,
        "exact_match": same / len(references),
        "placeholder_errors": wrong / max(len(with_placeholders), 1),
        "with_placeholders": len(with_placeholders),
        "bleu_signature": str(bleu.get_signature()),
    }


def per_example_chrf(translations: Sequence[str], references: Sequence[str]) -> PerExampleMetric:
    """Return the chrF of `compute_metrics`, as the counts of n-grams that each translation adds to it.

    >>> two = per_example_chrf(["Ja", "Nein"], ["Ja", "Kein"])
    >>> two.aggregate(two.components).round().tolist()
    [100.0, 48.0]
    """
    chrf = sacrebleu.CHRF()
    # Names that sacreBLEU keeps to itself, by which its own significance tests resample; there are no others.
    counts = chrf._extract_corpus_statistics(translations, [references])

    def score(sums: np.ndarray) -> float:
        return chrf._compute_f_score(sums.tolist())

    def aggregate(sums: np.ndarray) -> np.ndarray:
        return np.apply_along_axis(score, -1, sums)

    return PerExampleMetric("chrf", True, np.array(counts, np.float64).reshape(len(counts), 3 * chrf.order), aggregate)
