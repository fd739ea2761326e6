"""Text from text (summaries, replies): an encoder reads the source once, a decoder writes one token a step.

Roles: `encoder`, the `inputs` of handlers/text/sources.py -> memory (B, S, H) and the first states; `decoder_step`,
token (B,), the states, tokens, memory and lengths -> logits (B, V), weights (B, S) and the next states.
Dimensions: B texts in a step, S positions, V tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.generator import Model, Request
from handlers.limits import SourceLimits
from handlers.runtimes.runtime import Arrays
from handlers.runtimes.session import Session
from handlers.sampling import next_token as sampling
from handlers.sampling import philox
from handlers.text import source_params
from handlers.text.beam import Beam
from handlers.text.completions import Completions
from handlers.text.detokenizer import Detokenizer
from handlers.text.slots import Text, TextSlot
from handlers.text.source_params import SourceParams
from handlers.text.sources import Sources
from handlers.text.state_arrays import StateArrays
from handlers.text.tokenizer import BEGIN, END, SubwordTokenizer, WordPieces

ENCODER, DECODER, TOKENIZER = "encoder", "decoder_step", "tokenizer"
SOURCE_TOKENIZER = "source_tokenizer"  # of a BERT that reads the sources
STREAM = 2  # of the random numbers: other generators draw from other ones
SourceSlot = TextSlot[SourceParams]
OTHERS = ("token", "tokens", "memory", "lengths")  # inputs of a step that are no state


class Seq2Seq:
    """ReadingGenerator over the roles `encoder` and `decoder_step`."""

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
        self._completions = Completions(self._name, any(spec.name == "messages" for spec in model.params))

    @property
    def free(self) -> int:
        """How many more texts there is room for."""
        return self.capacity - self._rows.live

    def parse(self, request: Request) -> SourceParams:
        """Check one request, and tokenize its source. Raises `Refusal`."""
        return source_params.parse(request.params, self._specs, self._limits, self._name, self._sources)

    def read(self, batch: Sequence[SourceParams]) -> list[Arrays]:
        """The encoder's pass over every source: its memory (S, H) and first states.

        In service this runs in the reader's thread, beside `step`; in the stepping thread for what `start` is not
        given: golden items, previews, and the requests of a batch that could not be read together.
        """
        return [item for at in range(0, len(batch), self._tile) for item in self._encode(batch[at : at + self._tile])]

    def start(self, batch: Sequence[SourceParams], read: Sequence[Arrays] | None = None) -> list[SourceSlot]:
        """A slot per request, with a row for each text. Raises `ValueError` for more texts than there are free rows."""
        wanted = sum(params.rows for params in batch)
        if wanted > self.free:
            raise ValueError(f"{wanted} texts for {self.free} free rows")
        found = self.read(batch) if read is None else read
        slots: list[SourceSlot] = []
        try:
            for params, arrays in zip(batch, found, strict=True):
                slots.append(self._slot(params, arrays))
        except Exception:  # nobody knows of the rows that were taken
            for slot in slots:
                self.cancel(slot)
            raise
        return slots

    def step(self, slots: Sequence[SourceSlot]) -> None:
        """Every unfinished text of `slots` gets its next token. Nothing changes if this raises."""
        texts = sorted((t for slot in slots for t in slot.texts if t.finished is None), key=lambda text: text.row)
        found = self._run(texts)
        place = {text: at for at, text in enumerate(texts)}
        sampling.forbid(found["logits"], self._tokens.never)
        drawn = self._draw([slot for slot in slots if slot.beam is None], found["logits"], place)
        beams = {slot: _search(slot, slot.beam, found, place) for slot in slots if slot.beam is not None}
        source = np.arange(len(texts))
        for slot, beam in beams.items():
            for text, parent in zip(slot.texts, beam.parents, strict=False):
                source[place[text]] = place[slot.texts[parent]]
        rows = [text.row for text in texts]
        for name, state in self._rows.states.items():
            state[rows] = found[f"next_{name}"][source]
        for slot, text, token, logprob in drawn:
            self._write(slot, text, token, logprob)
        for slot, beam in beams.items():
            self._grow(slot, beam)

    def drain(self, slot: SourceSlot) -> bytes:
        """New text as server-sent events; of an answer that is no stream, the JSON object once it is finished."""
        return slot.drain(self._completions, self._tokens.pieces)

    def cancel(self, slot: SourceSlot) -> None:
        """End the texts of a slot and free their rows."""
        for text in slot.texts:
            self._end(text, "cancelled")
        slot.finished = slot.finished or "cancelled"

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of the states after every step and of the tokens, in hex, for one answer made alone."""
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
        """One text per seed, drawn for the example at temperature 0.7."""
        texts = []
        for seed in seeds:
            (slot,) = self.start([self.parse(Request({**self._example, "temperature": 0.7, "seed": seed}))])
            while slot.finished is None:
                self.step([slot])
            texts.append(slot.texts[0].detokenizer.text)
        return texts

    def _encode(self, batch: Sequence[SourceParams]) -> list[Arrays]:
        found = self._encoder.run(self._sources.inputs([params.source for params in batch]))
        return [{name: array[at] for name, array in found.items()} for at in range(len(batch))]

    def _slot(self, params: SourceParams, read: Arrays) -> SourceSlot:
        search = (params.beams, params.length_penalty, params.coverage_penalty, len(params.ids))
        slot = TextSlot(params, len(params.ids), [], beam=Beam.new(*search) if params.beams > 1 else None)
        draws = philox.uniforms(range(params.seed, params.seed + params.rows), params.max_tokens, STREAM).tolist()
        try:
            for index in range(params.rows):
                text = Text(index, Detokenizer(self._tokens.lead, params.stop), draws[index], BEGIN)
                text.row = self._rows.add(params.ids, read["memory"], read, text.moved)
                slot.texts.append(text)
        except Exception:
            self.cancel(slot)
            raise
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

    def _draw(
        self, slots: Sequence[SourceSlot], logits: NDArray[np.float32], place: Mapping[Text, int]
    ) -> list[tuple[SourceSlot, Text, int, float | None]]:
        """(slot, text, next token, its log-probability if asked for) of every unfinished text, from logits (B, V)."""
        pairs = [(slot, text) for slot in slots for text in slot.texts if text.finished is None]
        pairs.sort(key=lambda pair: place[pair[1]])
        rows = [place[text] for _, text in pairs]
        logprobs = {
            row: sampling.log_softmax(logits[row])
            for row, (slot, _) in zip(rows, pairs, strict=True)
            if slot.params.logprobs
        }
        scores = logits if len(rows) == len(logits) else logits[rows]
        for row, (slot, text) in zip(scores, pairs, strict=True):
            if len(text.tokens) < slot.params.min_tokens:
                row[END] = -np.inf
            if slot.rule.repetition_penalty != 1 and text.tokens:
                sampling.penalize(row, text.tokens, slot.rule.repetition_penalty)
        uniforms = [text.uniforms[len(text.tokens)] for _, text in pairs]
        chosen = sampling.choose(scores, [slot.rule for slot, _ in pairs], uniforms).tolist()
        return [
            (slot, text, token, float(logprobs[row][token]) if row in logprobs else None)
            for row, (slot, text), token in zip(rows, pairs, chosen, strict=True)
        ]

    def _write(self, slot: SourceSlot, text: Text, token: int, logprob: float | None) -> None:
        if token == END:
            text.end()
        else:
            text.write(token, self._tokens.pieces[token])
            slot.items += 1
            if logprob is not None:
                text.logprobs.append(logprob)
        if text.finished is not None:
            self._rows.release(text.row)
            if all(other.finished is not None for other in slot.texts):
                slot.finished = slot.texts[0].finished

    def _grow(self, slot: SourceSlot, beam: Beam) -> None:
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
            text.detokenizer.add(b"".join(self._tokens.pieces[token] for token in text.tokens), last=True)
        slot.texts = slot.texts[: len(best)]
        slot.finished = slot.texts[0].finished

    def _end(self, text: Text, reason: str) -> None:
        if text.finished is None:
            text.finished = reason
            self._rows.release(text.row)


def _search(slot: SourceSlot, beam: Beam, found: Mapping[str, NDArray[Any]], place: Mapping[Text, int]) -> Beam:
    """The beam after one more token of every hypothesis."""
    at = [place[text] for text in slot.texts[: len(beam.live)]]
    logprobs = sampling.log_softmax(found["logits"][at])
    if len(beam.live[0].tokens) < slot.params.min_tokens:
        logprobs[:, END] = -np.inf
    weights = found["weights"][at][:, : slot.prompt_tokens]
    return beam.advance(logprobs, weights, slot.params.max_tokens)
