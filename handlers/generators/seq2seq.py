"""Text from text (summaries, replies): an encoder reads the source once, a decoder writes one token a step, many texts together.

Roles: `encoder`, what handlers/sources.py reads of a batch -> memory (B, S, H) and the first states; `decoder_step`, token (B,), the states,
tokens, memory and lengths -> logits (B, V), weights (B, S) and the next states. Dimensions: B texts in a step, S positions, V tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.generator import Model, Request
from handlers.limits import SourceLimits
from handlers.runtimes.session import Session
from handlers.sampling import next_token as sampling
from handlers.sampling import philox
from handlers.text import params as text_params
from handlers.text.beam import Beam
from handlers.text.completions import Choice, Completions
from handlers.text.detokenizer import Detokenizer
from handlers.text.params import TextParams
from handlers.text.slots import Slot, Text
from handlers.text.sources import Sources
from handlers.text.state_arrays import Arrays, StateArrays
from handlers.text.tokenizer import END, SubwordTokenizer, WordPieces

ENCODER, DECODER, TOKENIZER = "encoder", "decoder_step", "tokenizer"
SOURCE_TOKENIZER = "source_tokenizer"  # of a BERT that reads the sources
STREAM = 2  # of the random numbers: other generators draw from other ones
OTHERS = ("token", "tokens", "memory", "lengths")  # inputs of a step that are no state


class Seq2Seq:
    """StepGenerator over the roles `encoder` and `decoder_step`."""

    def __init__(self, model: Model, sessions: Mapping[str, Session]) -> None:
        self._limits = limits = model.limits_as(SourceLimits)
        self._specs, self._name = model.params, model.name
        self._encoder, self._decoder = sessions[ENCODER], sessions[DECODER]
        self._tile, self.capacity = limits.max_tile, limits.max_slots
        self._example = model.example
        shapes = {spec.name: spec.shape for spec in (*self._decoder.spec.inputs, *self._decoder.spec.outputs)}
        self._tokens = SubwordTokenizer(model.asset(TOKENIZER), int(shapes["logits"][1]))
        known = limits.source_vocabulary
        pieces = None if known is None else WordPieces(model.asset(SOURCE_TOKENIZER), known)
        self._sources = Sources(self._tokens, limits, self._name, pieces)
        states = {s.name: tuple(map(int, s.shape[1:])) for s in self._decoder.spec.inputs if s.name not in OTHERS}
        self._rows = StateArrays(self.capacity, int(shapes["memory"][2]), states, limits.source_multiple)
        self._answers = Completions(self._name, any(spec.name == "messages" for spec in model.params))

    def parse(self, request: Request) -> TextParams:
        """Check one request. Raises `Refusal`."""
        return text_params.parse(request.params, self._specs, self._limits, self._name, self._sources)

    def read(self, batch: Sequence[TextParams]) -> list[Arrays]:
        """Memory (S, H) and first states of every source."""
        return [item for at in range(0, len(batch), self._tile) for item in self._read(batch[at : at + self._tile])]

    def start(self, batch: Sequence[TextParams], read: Sequence[Arrays] | None = None) -> list[Slot]:
        """Give every text a row, with its source as it was read."""
        wanted = sum(params.rows for params in batch)
        if wanted > self.capacity - self._rows.live:
            raise ValueError(f"{wanted} texts for {self.capacity - self._rows.live} free rows")
        found = self.read(batch) if read is None else read
        return [self._slot(params, arrays) for params, arrays in zip(batch, found, strict=True)]

    def step(self, slots: Sequence[Slot]) -> None:
        """Every unfinished text of `slots` gets its next token. Nothing changes if this raises."""
        texts = sorted((t for slot in slots for t in slot.texts if t.finished is None), key=lambda text: text.row)
        found = self._run(texts)
        place = {text: at for at, text in enumerate(texts)}
        logits = found["logits"]
        sampling.forbid(logits, self._tokens.never)
        drawn = {slot: slot.choose(logits, place) for slot in slots if slot.beam is None}
        beams = {slot: slot.search(slot.beam, found, place) for slot in slots if slot.beam is not None}
        source = np.arange(len(texts))
        for slot, beam in beams.items():
            for text, parent in zip(slot.texts, beam.parents, strict=False):
                source[place[text]] = place[slot.texts[parent]]
        rows = [text.row for text in texts]
        for name, state in self._rows.states.items():
            state[rows] = found[f"next_{name}"][source]
        for slot, tokens in drawn.items():
            self._write(slot, tokens)
        for slot, beam in beams.items():
            self._grow(slot, beam)

    def drain(self, slot: Slot) -> bytes:
        """New text as server-sent events; of an answer that is no stream, the JSON object once it is finished."""
        pieces = self._tokens.pieces
        if slot.params.stream:
            new = [text.piece(pieces, slot.params.logprobs) for text in slot.texts]
            events = [self._answers.event(piece) for piece in new if piece is not None]
            if slot.finished is not None:
                ends = [Choice(text.index, "", text.finished) for text in slot.texts]
                events.append(self._answers.last(ends, *slot.usage, slot.params.seed))
            return b"".join(events)
        if slot.finished is None:
            return b""
        choices = [
            Choice(text.index, text.writing.text, text.finished, text.tell(pieces) if slot.params.logprobs else None)
            for text in slot.texts[: slot.params.n]
        ]
        return self._answers.whole(choices, *slot.usage, slot.params.seed)

    def cancel(self, slot: Slot) -> None:
        """Give the rows of a slot back."""
        for text in slot.texts:
            self._end(text, "cancelled")
        slot.finished = slot.finished or "cancelled"

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of every score and state on the way of one answer made alone."""
        digest = hashlib.sha256()
        (slot,) = self.start([self.parse(Request(params))])
        while slot.finished is None:
            self.step([slot])
            for text in slot.texts:
                if text.finished is None:
                    digest.update(b"".join(state[text.row].tobytes() for state in self._rows.states.values()))
        digest.update(repr([text.tokens for text in slot.texts]).encode())
        return digest.hexdigest()

    def preview(self, seeds: Sequence[int]) -> list[str]:
        """For each seed what is drawn for the example at temperature 0.7."""
        texts = []
        for seed in seeds:
            (slot,) = self.start([self.parse(Request({**self._example, "temperature": 0.7, "seed": seed}))])
            while slot.finished is None:
                self.step([slot])
            texts.append(slot.texts[0].writing.text)
        return texts

    def _read(self, batch: Sequence[TextParams]) -> list[Arrays]:
        found = self._encoder.run(self._sources.inputs([params.source for params in batch]))
        return [{name: array[at] for name, array in found.items()} for at in range(len(batch))]

    def _slot(self, params: TextParams, read: Arrays) -> Slot:
        search = (params.beams, params.length_penalty, params.coverage_penalty, len(params.ids))
        slot = Slot(params, [], Beam.new(*search) if params.beams > 1 else None)
        draws = philox.uniforms(range(params.seed, params.seed + params.rows), params.max_tokens, STREAM)
        for index in range(params.rows):
            text = Text(index, Detokenizer(params.stop), draws[index])
            text.row = self._rows.add(params.ids, read["memory"], read, text.moved)
            slot.texts.append(text)
        return slot

    def _run(self, texts: Sequence[Text]) -> dict[str, NDArray[Any]]:
        parts = []
        for at in range(0, len(texts), self._tile):
            tile = texts[at : at + self._tile]
            tokens = np.array([text.token for text in tile], np.int64)
            parts.append(self._decoder.run({"token": tokens, **self._rows.inputs([text.row for text in tile])}))
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _write(self, slot: Slot, chosen: Sequence[tuple[Text, int, float]]) -> None:
        for text, token, logprob in chosen:
            if token == END:
                text.writing.add(b"", last=True)
                self._end(text, "stop")
                continue
            text.token = token
            text.tokens.append(token)
            text.logprobs.append(logprob)
            slot.items += 1
            last = len(text.tokens) == slot.params.max_tokens
            if text.writing.add(self._tokens.pieces[token], last):
                self._end(text, "stop")
            elif last:
                self._end(text, "length")
        if all(text.finished is not None for text in slot.texts):
            slot.finished = slot.texts[0].finished

    def _grow(self, slot: Slot, beam: Beam) -> None:
        slot.beam = beam
        slot.items += 1
        for text, hypothesis in zip(slot.texts, beam.live, strict=False):
            text.token = hypothesis.tokens[-1]
        if not beam.done:
            return
        best = beam.ended[: slot.params.n]
        for text in slot.texts:
            self._end(text, "length")
        for text, (_, reason, hypothesis) in zip(slot.texts, best, strict=False):
            text.finished = reason
            text.tokens = [token for token in hypothesis.tokens if token != END]
            text.logprobs = list(hypothesis.logprobs[: len(text.tokens)])
            text.writing.add(b"".join(self._tokens.pieces[token] for token in text.tokens), last=True)
        slot.texts = slot.texts[: len(best)]
        slot.finished = slot.texts[0].finished

    def _end(self, text: Text, reason: str) -> None:
        if text.finished is None:
            text.finished = reason
            self._rows.release(text.row)
