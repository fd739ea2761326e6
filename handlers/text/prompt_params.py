"""Parameters of a request for the continuation of a prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from handlers.limits import PromptLimits
from handlers.params import ParamSpec, check_all, draw_seed
from handlers.refusals import Refusal
from handlers.sampling.next_token import Rule
from handlers.text.params import SMALLER, content_type, hashed


@dataclasses.dataclass(frozen=True)
class PromptParams:
    """TextParams of one text that goes on from a prompt; the fields are the request's own names."""

    prompt: str
    max_tokens: int
    temperature: float
    top_k: int
    seed: int
    stream: bool
    rows: ClassVar[int] = 1  # a request writes one text
    n: ClassVar[int] = 1
    logprobs: ClassVar[bool] = False
    smaller: ClassVar[str] = SMALLER

    @property
    def rule(self) -> Rule:
        """How the next byte is chosen from its scores."""
        return Rule(self.temperature, self.top_k)

    @property
    def content_type(self) -> str:
        """The content type of the answer: server-sent events, or one JSON object."""
        return content_type(self.stream)

    def public(self) -> dict[str, Any]:
        """The honoured parameters; a receipt holds a prompt's hash, not the prompt."""
        return {**dataclasses.asdict(self), "prompt": hashed(self.prompt)}


def parse(params: Any, specs: Sequence[ParamSpec], limits: PromptLimits, name: str) -> PromptParams:
    """Check a request to the model called `name`. Raises `Refusal`."""
    values = check_all(params, specs)
    if values["seed"] is None:
        values["seed"] = draw_seed()
    size, most = len(values["prompt"].encode()), limits.max_prompt_bytes
    if size > most:
        raise Refusal(400, f"prompt has {size} bytes in UTF-8, {name} takes at most {most}", "prompt")
    if "\0" in values["prompt"]:
        raise Refusal(400, "prompt holds a NUL character, which ends a text here; leave it out", "prompt")
    return PromptParams(**values)
