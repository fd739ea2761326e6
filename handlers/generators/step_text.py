"""Text, one byte at a time (charlm): one graph, the last byte and the state in, scores of the next byte and the new state out.

Dimensions: B slots in a step, V bytes, L layers, H hidden.
"""

from __future__ import annotations

import codecs
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.bundle import BundleError
from handlers.generator import Model, Request
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.limits import PromptLimits
from handlers.media.mark import SOURCE_TYPE
from handlers.params import check_all, draw_seed
from handlers.refusals import Refusal
from handlers.runtimes.session import Session
from handlers.sampling import philox

ROLE = "step"
BOUNDARY = 0  # the byte that begins and ends a text
STREAM = 1  # of the sampler: tokens and latents of one seed have nothing to do with each other


@dataclasses.dataclass(frozen=True)
class TextParams:
    """What one request asks for; the fields are the request's own names."""

    prompt: str
    max_tokens: int
    temperature: float
    top_k: int
    seed: int
    stream: bool

    @property
    def rows(self) -> int:
        """A request writes one text."""
        return 1

    @property
    def content_type(self) -> str:
        """Server-sent events, or one JSON object."""
        return "text/event-stream; charset=utf-8" if self.stream else "application/json"

    def public(self) -> dict[str, Any]:
        """The honoured parameters; a receipt holds a prompt's hash, not the prompt."""
        values = dataclasses.asdict(self)
        return {**values, "prompt": {"sha256": hashlib.sha256(self.prompt.encode()).hexdigest()}}


@dataclasses.dataclass
class TextSlot:
    """One text in the making; its state is row `row` of the generator's arrays."""

    params: TextParams
    row: int
    feed: bytes  # the prompt's bytes that the network has not seen yet, the last one excepted: that is `token`
    uniforms: NDArray[np.float64]
    decoder: codecs.IncrementalDecoder
    prompt_tokens: int
    token: int = BOUNDARY
    items: int = 0
    made: bytearray = dataclasses.field(default_factory=bytearray)
    drained: int = 0
    finished: str | None = None


class StepText:
    """StepGenerator over the role `step`: token (B,) and the state -> logits (B, V) and the state after it.

    The state is what the graph says: every input NAME of floats, which it gives back as next_NAME. Raises `BundleError`
    when it does not.
    """

    def __init__(self, model: Model, sessions: Mapping[str, Session]) -> None:
        limits = model.limits_as(PromptLimits)
        self._specs, self._name, self._session = model.params, model.name, sessions[ROLE]
        self._max_prompt_bytes = limits.max_prompt_bytes
        self._tile = limits.max_tile
        self.capacity = limits.max_slots
        self._state = {
            spec.name: np.zeros((self.capacity, *(int(size) for size in spec.shape[1:])), spec.dtype)
            for spec in state_specs(model.graphs[ROLE])
        }  # (slots, L, H) each
        self._free = list(range(self.capacity))

    def parse(self, request: Request) -> TextParams:
        """Check one request. Raises `Refusal`."""
        values = check_all(request.params, self._specs)
        if values["seed"] is None:
            values["seed"] = draw_seed()
        try:
            size = len(values["prompt"].encode())
        except UnicodeEncodeError:
            raise Refusal(
                400, "prompt holds half of a surrogate pair, which is no text; send whole characters", "prompt"
            ) from None
        if size > self._max_prompt_bytes:
            message = f"prompt has {size} bytes in UTF-8, {self._name} takes at most {self._max_prompt_bytes}"
            raise Refusal(400, message, "prompt")
        if "\0" in values["prompt"]:
            raise Refusal(400, "prompt holds a NUL character, which ends a text here; leave it out", "prompt")
        return TextParams(**values)

    def start(self, batch: Sequence[TextParams], read: Sequence[Any] | None = None) -> list[TextSlot]:
        """One slot each; the prompt is read by the steps to come, beside the others' tokens."""
        if len(batch) > len(self._free):
            raise ValueError(f"{len(batch)} requests for {len(self._free)} free slots")
        slots: list[TextSlot] = []
        for params in batch:
            prompt = params.prompt.encode()
            uniforms = philox.uniforms([params.seed], params.max_tokens, STREAM)[0]
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            slots.append(TextSlot(params, self._free[len(slots)], prompt, uniforms, decoder, len(prompt)))
        del self._free[: len(slots)]
        rows = [slot.row for slot in slots]
        for state in self._state.values():
            state[rows] = 0.0
        return slots

    def step(self, slots: Sequence[TextSlot]) -> None:
        """Every slot reads its token; those past their prompt write the next one. Nothing changes if this raises."""
        rows = [slot.row for slot in slots]
        tokens = np.array([slot.token for slot in slots], np.int64)  # (B,)
        inputs = {"token": tokens, **{name: state[rows] for name, state in self._state.items()}}
        parts = [
            self._session.run({name: array[at : at + self._tile] for name, array in inputs.items()})
            for at in range(0, len(rows), self._tile)
        ]
        logits = np.concatenate([part["logits"] for part in parts])
        writing = [i for i, slot in enumerate(slots) if not slot.feed]
        chosen = choose(logits[writing], [slots[i] for i in writing]).tolist() if writing else []
        after = {name: np.concatenate([part[f"next_{name}"] for part in parts]) for name in self._state}
        for name, state in self._state.items():
            state[rows] = after[name]
        for slot in slots:
            if slot.feed:
                slot.token, slot.feed = slot.feed[0], slot.feed[1:]
        for i, token in zip(writing, chosen, strict=True):
            self._take(slots[i], token)

    def drain(self, slot: TextSlot) -> bytes:
        """New text as server-sent events; of an answer that is no stream, the JSON object once it is finished."""
        if slot.finished is None and not slot.params.stream:
            return b""
        new = bytes(slot.made[slot.drained :])
        slot.drained = len(slot.made)
        text = slot.decoder.decode(new, slot.finished is not None)  # holds a character that is not whole back
        if not slot.params.stream:
            return self._document(slot, text)
        events = [self._event(slot, text)] if text else []
        if slot.finished is not None:
            events += [self._document(slot, ""), b"[DONE]"]
        return b"".join(b"data: " + event + b"\n\n" for event in events)

    def cancel(self, slot: TextSlot) -> None:
        """Give the slot's row back."""
        if slot.finished is None:
            slot.finished = "cancelled"
            self._free.append(slot.row)

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of every score and state on the way of one text made alone."""
        digest = hashlib.sha256()
        (slot,) = self.start([self.parse(Request(params))])
        while slot.finished is None:
            self.step([slot])
            digest.update(bytes([slot.token]) + b"".join(state[slot.row].tobytes() for state in self._state.values()))
        return digest.hexdigest()

    def preview(self, seeds: Sequence[int]) -> list[str]:
        """A text of at most 200 bytes for each seed, without a prompt."""
        texts = []
        for seed in seeds:
            (slot,) = self.start([self.parse(Request({"seed": seed, "max_tokens": 200, "temperature": 0.7}))])
            while slot.finished is None:
                self.step([slot])
            texts.append(slot.made.decode(errors="replace"))
        return texts

    def _take(self, slot: TextSlot, token: int) -> None:
        slot.token = token
        slot.items += 1
        if token == BOUNDARY:
            slot.finished = "stop"
        else:
            slot.made.append(token)
            if slot.items == slot.params.max_tokens:
                slot.finished = "length"
        if slot.finished is not None:
            self._free.append(slot.row)

    def _event(self, slot: TextSlot, text: str) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": None}
        return _json({"object": "text_completion", "model": self._name, "choices": [choice]})

    def _document(self, slot: TextSlot, text: str) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": slot.finished}
        usage = {"prompt_tokens": slot.prompt_tokens, "completion_tokens": slot.items}
        return _json(
            {
                "object": "text_completion",
                "model": self._name,
                "choices": [choice],
                "usage": {**usage, "total_tokens": sum(usage.values())},
                "seed": slot.params.seed,
                "digital_source_type": SOURCE_TYPE,
            }
        )


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


def choose(logits: NDArray[np.float32], slots: Sequence[TextSlot]) -> NDArray[np.int64]:
    """The next byte of each slot from logits (B, V): the likeliest at temperature 0, else drawn by the slot's own numbers.

    Every operation works along a row, so a slot's choice does not depend on its neighbours.
    """
    if not np.isfinite(logits).all():
        raise ValueError("a score of the next byte is NaN or infinite")
    best = logits.argmax(axis=1)
    drawn = [i for i, slot in enumerate(slots) if slot.params.temperature > 0]
    if not drawn:
        return np.asarray(best)
    temperatures = np.array([slots[i].params.temperature for i in drawn])
    scores = logits[drawn].astype(np.float64) / temperatures[:, None]
    for row, i in enumerate(drawn):
        if 0 < (k := slots[i].params.top_k) < scores.shape[1]:
            least = np.partition(scores[row], -k)[-k]
            scores[row, scores[row] < least] = -np.inf
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    upto = np.cumsum(weights, axis=1)  # (B, V)
    targets = np.array([slots[i].uniforms[slots[i].items] for i in drawn]) * upto[:, -1]
    best[drawn] = np.minimum((upto <= targets[:, None]).sum(axis=1), scores.shape[1] - 1)
    return np.asarray(best)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
