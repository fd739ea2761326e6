"""One request in the making: its texts, what each says next, and what of it has been told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.sampling import next_token as sampling
from handlers.text.beam import Beam
from handlers.text.completions import Choice
from handlers.text.detokenizer import Detokenizer
from handlers.text.params import TextParams
from handlers.text.tokenizer import BEGIN, END


@dataclasses.dataclass(eq=False)
class Text:
    """One text in the making; its states are row `row` of the generator's arrays."""

    index: int
    writing: Detokenizer
    uniforms: NDArray[np.float64]
    row: int = -1
    token: int = BEGIN  # the last one, which is read next
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    told: int = 0  # tokens whose log-probabilities have been sent
    finished: str | None = None

    def moved(self, row: int) -> None:
        """The generator has moved its row."""
        self.row = row

    def tell(self, pieces: Sequence[bytes]) -> list[tuple[str, float]]:
        """Texts and log-probabilities of the tokens that were not told of yet; `pieces` are the bytes of every token."""
        new = range(self.told, len(self.tokens))
        self.told = len(self.tokens)
        return [(pieces[self.tokens[at]].decode(errors="replace"), self.logprobs[at]) for at in new]

    def piece(self, pieces: Sequence[bytes], logprobs: bool) -> Choice | None:
        """What a stream sends of it now, if there is anything new."""
        new = self.writing.take(self.finished is not None)
        told = self.tell(pieces) if logprobs else None
        return Choice(self.index, new, None, told) if new or told else None


@dataclasses.dataclass(eq=False)
class Slot:
    """One request: `n` texts that are drawn, or the `beams` of one search."""

    params: TextParams
    texts: list[Text]
    beam: Beam | None
    items: int = 0
    finished: str | None = None

    @property
    def usage(self) -> tuple[int, int]:
        """Tokens of the source, and those that were written."""
        return len(self.params.ids), sum(len(text.tokens) for text in self.texts[: self.params.n])

    def choose(self, logits: NDArray[np.float32], place: Mapping[Text, int]) -> list[tuple[Text, int, float]]:
        """The next token of every unfinished text, and its log-probability where that is asked for, from logits (B, V)."""
        chosen = []
        params, rule = self.params, self.params.rule
        for text in self.texts:
            if text.finished is not None:
                continue
            scores = logits[place[text]]
            logprobs = sampling.log_softmax(scores) if params.logprobs else None
            if len(text.tokens) < params.min_tokens:
                scores[END] = -np.inf
            if rule.repetition_penalty != 1 and text.tokens:
                sampling.penalize(scores, text.tokens, rule.repetition_penalty)
            drawn = rule.temperature > 0
            token = sampling.draw(scores, rule, text.uniforms[len(text.tokens)]) if drawn else int(scores.argmax())
            chosen.append((text, token, 0.0 if logprobs is None else float(logprobs[token])))
        return chosen

    def search(self, beam: Beam, found: Mapping[str, NDArray[Any]], place: Mapping[Text, int]) -> Beam:
        """The search after one more token of every hypothesis."""
        at = [place[text] for text in self.texts[: len(beam.live)]]
        logprobs = sampling.log_softmax(found["logits"][at])
        if len(beam.live[0].tokens) < self.params.min_tokens:
            logprobs[:, END] = -np.inf
        weights = found["weights"][at][:, : len(self.params.ids)]
        return beam.advance(logprobs, weights, self.params.max_tokens)
