"""Requests for text while they are computed: their texts, the tokens so far, and how much has been sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Generic, TypeVar

from handlers.text.beam import Beam
from handlers.text.completions import Choice, Completions
from handlers.text.detokenizer import Detokenizer
from handlers.text.params import TextParams

P = TypeVar("P", bound=TextParams)


@dataclasses.dataclass(eq=False)
class Text:
    """One text in the making; its states are row `row` of the generator's arrays."""

    index: int
    detokenizer: Detokenizer
    uniforms: Sequence[float]  # the number that draws each of its tokens: there are as many as it may have
    token: int  # the last one, which the network takes next
    row: int = -1
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)  # of the tokens, where they are asked for
    told: int = 0  # tokens whose log-probabilities have been sent
    finished: str | None = None

    def moved(self, row: int) -> None:
        """Take note that the generator has moved its states to `row`."""
        self.row = row

    def write(self, token: int, piece: bytes) -> None:
        """Append a token, whose bytes are `piece`. It may be the last: at a stop string, or as one of `max_tokens`."""
        self.token = token
        self.tokens.append(token)
        last = len(self.tokens) == len(self.uniforms)
        if self.detokenizer.add(piece, last):
            self.finished = "stop"
        elif last:
            self.finished = "length"

    def end(self) -> None:
        """End the text: the network wrote its end mark."""
        self.detokenizer.add(b"", last=True)
        self.finished = "stop"

    def tell(self, pieces: Sequence[bytes]) -> list[tuple[str, float]]:
        """(text, log-probability) of the tokens since the last call; `pieces` are the bytes of every possible token."""
        new = range(self.told, len(self.tokens))
        self.told = len(self.tokens)
        return [(pieces[self.tokens[at]].decode(errors="replace"), self.logprobs[at]) for at in new]

    def piece(self, pieces: Sequence[bytes], logprobs: bool) -> Choice | None:
        """The text and log-probabilities that are new since the last piece, or None if nothing is."""
        new = self.detokenizer.take(self.finished is not None)
        told = self.tell(pieces) if logprobs else None
        return Choice(self.index, new, None, told) if new or told else None


@dataclasses.dataclass(eq=False)
class TextSlot(Generic[P]):
    """The slot of a request for text: `n` texts that are drawn, or the `beams` of one search."""

    params: P
    prompt_tokens: int
    texts: list[Text]
    unread: bytes = b""  # of a prompt: the tokens to come before the first one that is written
    beam: Beam | None = None
    items: int = 0
    finished: str | None = None

    def __post_init__(self) -> None:
        self.rule = self.params.rule

    def drain(self, completions: Completions, pieces: Sequence[bytes]) -> bytes:
        """New text as server-sent events; of an answer that is no stream, the JSON object once it is finished."""
        params = self.params
        if params.stream:
            new = [text.piece(pieces, params.logprobs) for text in self.texts]
            events = [completions.event(piece) for piece in new if piece is not None]
            if self.finished is not None:
                ends = [Choice(text.index, "", text.finished) for text in self.texts]
                events.append(completions.last(ends, self.prompt_tokens, self._completion_tokens, params.seed))
            return b"".join(events)
        if self.finished is None:
            return b""
        choices = [
            Choice(text.index, text.detokenizer.text, text.finished, text.tell(pieces) if params.logprobs else None)
            for text in self.texts[: params.n]
        ]
        return completions.whole(choices, self.prompt_tokens, self._completion_tokens, params.seed)

    @property
    def _completion_tokens(self) -> int:
        return sum(len(text.tokens) for text in self.texts[: self.params.n])
