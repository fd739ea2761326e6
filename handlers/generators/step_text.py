"""Text, one byte at a time (charlm): the last byte and the state in, scores of the next byte and the new state out.

Dimensions: B slots in a step, V bytes, L layers, H hidden.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handlers.generator import Model, Request
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.limits import PromptLimits
from handlers.manifest import BundleError
from handlers.runtimes.session import Session
from handlers.sampling import next_token as sampling
from handlers.sampling import philox
from handlers.text import prompt_params
from handlers.text.completions import Completions
from handlers.text.detokenizer import Detokenizer
from handlers.text.prompt_params import PromptParams
from handlers.text.slots import Text, TextSlot
from handlers.text.tokenizer import BOUNDARY, ByteTokenizer

ROLE = "step"
PromptSlot = TextSlot[PromptParams]
STREAM = 1  # of the random numbers: tokens and latents of one seed have nothing to do with each other


class StepText:
    """StepGenerator over the role `step`: token (B,) and the state -> logits (B, V) and the state after it.

    The state is what the graph says: every input NAME of floats, which it gives back as next_NAME. Raises `BundleError`
    when it does not.
    """

    def __init__(self, model: Model, sessions: Mapping[str, Session]) -> None:
        self._limits = limits = model.limits_as(PromptLimits)
        self._specs, self._name, self._session = model.params, model.name, sessions[ROLE]
        self._tile, self.capacity = limits.max_tile, limits.max_slots
        self._tokens, self._completions = ByteTokenizer(), Completions(model.name, chat=False)
        self._state = {
            spec.name: np.zeros((self.capacity, *(int(size) for size in spec.shape[1:])), spec.dtype)
            for spec in state_specs(model.graphs[ROLE])
        }  # (slots, L, H) each
        self._free = list(range(self.capacity))

    @property
    def free(self) -> int:
        """How many more texts there is room for."""
        return len(self._free)

    def parse(self, request: Request) -> PromptParams:
        """Check one request. Raises `Refusal`."""
        return prompt_params.parse(request.params, self._specs, self._limits, self._name)

    def start(self, batch: Sequence[PromptParams]) -> list[PromptSlot]:
        """One slot each; the steps to come read the prompt. Raises `ValueError` for more requests than free slots."""
        if len(batch) > len(self._free):
            raise ValueError(f"{len(batch)} requests for {len(self._free)} free slots")
        slots: list[PromptSlot] = []
        for row, params in zip(self._free, batch, strict=False):
            uniforms = philox.uniforms([params.seed], params.max_tokens, STREAM)[0].tolist()
            text = Text(0, Detokenizer(self._tokens.lead), uniforms, BOUNDARY, row)
            prompt = self._tokens.encode(params.prompt)
            slots.append(TextSlot(params, len(prompt), [text], prompt))
        del self._free[: len(slots)]
        rows = [slot.texts[0].row for slot in slots]
        for state in self._state.values():
            state[rows] = 0.0
        return slots

    def step(self, slots: Sequence[PromptSlot]) -> None:
        """Every slot reads its token; those past their prompt write the next one. Nothing changes if this raises."""
        texts = [slot.texts[0] for slot in slots]
        rows = [text.row for text in texts]
        tokens = np.array([text.token for text in texts], np.int64)  # (B,)
        inputs = {"token": tokens, **{name: state[rows] for name, state in self._state.items()}}
        parts = [
            self._session.run({name: array[at : at + self._tile] for name, array in inputs.items()})
            for at in range(0, len(rows), self._tile)
        ]
        found = parts[0] if len(parts) == 1 else {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        writing = [at for at, slot in enumerate(slots) if not slot.unread]
        scores = found["logits"][writing]
        sampling.forbid(scores, self._tokens.never)
        rules = [slots[at].rule for at in writing]
        chosen = sampling.choose(scores, rules, [texts[at].uniforms[slots[at].items] for at in writing]).tolist()
        for name, state in self._state.items():
            state[rows] = found[f"next_{name}"]
        if len(writing) < len(slots):
            for slot, text in zip(slots, texts, strict=True):
                if slot.unread:
                    text.token, slot.unread = slot.unread[0], slot.unread[1:]
        pieces = self._tokens.pieces
        for at, token in zip(writing, chosen, strict=True):
            slot, text = slots[at], texts[at]
            slot.items += 1
            text.write(token, pieces[token])
            if token == BOUNDARY:  # which counts as written, too
                text.end()
            if text.finished is not None:
                self._end(slot, text.finished)

    def drain(self, slot: PromptSlot) -> bytes:
        """New text as server-sent events; of an answer that is no stream, the JSON object once it is finished."""
        return slot.drain(self._completions, self._tokens.pieces)

    def cancel(self, slot: PromptSlot) -> None:
        """End the slot's text and free its row."""
        if slot.finished is None:
            self._end(slot, "cancelled")

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of the token and states after every step, in hex, for one text made alone."""
        digest = hashlib.sha256()
        (slot,) = self.start([self.parse(Request(params))])
        (text,) = slot.texts
        while slot.finished is None:
            self.step([slot])
            digest.update(bytes([text.token]) + b"".join(state[text.row].tobytes() for state in self._state.values()))
        return digest.hexdigest()

    def preview(self, seeds: Sequence[int]) -> list[str]:
        """A text of at most 200 bytes for each seed, without a prompt."""
        texts = []
        for seed in seeds:
            (slot,) = self.start([self.parse(Request({"seed": seed, "max_tokens": 200, "temperature": 0.7}))])
            while slot.finished is None:
                self.step([slot])
            texts.append(slot.texts[0].detokenizer.text)
        return texts

    def _end(self, slot: PromptSlot, reason: str) -> None:
        slot.finished = reason
        self._free.append(slot.texts[0].row)


def state_specs(graph: GraphSpec) -> list[TensorSpec]:
    """The inputs of floats, each of which must come back as next_NAME with the same shape. Raises `BundleError`."""
    given = {spec.name: (spec.dtype, spec.shape) for spec in graph.outputs}
    states = [spec for spec in graph.inputs if spec.dtype.startswith("float")]
    for spec in states:
        if given.get(f"next_{spec.name}") != (spec.dtype, spec.shape):
            wanted = f"next_{spec.name}, {spec.dtype} {list(spec.shape)}"
            found = ", ".join(f"{name}, {dtype} {list(shape)}" for name, (dtype, shape) in given.items())
            raise BundleError(
                f"the graph takes the state {spec.name} and gives {found}; wanted {wanted}: build the bundle again"
            )
    return states
