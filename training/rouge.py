"""ROUGE of written texts against their references, by the rouge-score library (Lin 2004)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer as RougeTokenizer

MEASURES = ("rouge1", "rouge2", "rougeL")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


class Words(RougeTokenizer):  # type: ignore[misc]
    """Lower-case words; of scripts without spaces every character. The library's own rule drops all but ASCII."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return _WORD.findall(text.lower())


def rouge(wanted: Sequence[str], found: Sequence[str]) -> dict[str, float]:
    """Mean F1 of ROUGE-1, -2 and -L as `rouge_1`, `rouge_2`, `rouge_l`.

    Raises `ValueError` if there is nothing to compare.
    """
    if not wanted or len(wanted) != len(found):
        raise ValueError(f"{len(found)} texts for {len(wanted)} references, wanted as many, and at least one")
    scorer = RougeScorer(MEASURES, tokenizer=Words())
    scores = [scorer.score(reference, text) for reference, text in zip(wanted, found, strict=True)]
    means = {measure: sum(score[measure].fmeasure for score in scores) / len(scores) for measure in MEASURES}
    return {f"rouge_{measure.removeprefix('rouge').lower()}": round(mean, 4) for measure, mean in means.items()}
