"""A step of charlm that follows a script, for tests of what becomes of the bytes it wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.generators.step_text import StepText
from tests.conftest import Tiny


class Scripted:
    """A session that wants the bytes of `script` one after another, whatever it reads; its states count them."""

    def __init__(self, script: bytes) -> None:
        self.script = script
        self.inputs: list[dict[str, NDArray[Any]]] = []  # of every run

    @property
    def batches(self) -> list[list[int]]:
        """The tokens of every run."""
        return [inputs["token"].tolist() for inputs in self.inputs]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.inputs.append({name: array.copy() for name, array in inputs.items()})
        states = {f"next_{name}": array + 1 for name, array in inputs.items() if name != "token"}
        at = inputs["h"][:, 0, 0].astype(int)
        logits = np.zeros((len(at), 256), np.float32)
        logits[np.arange(len(at)), [self.script[i] if i < len(self.script) else 0 for i in at]] = 50.0
        return {"logits": logits, **states}


def scripted(tiny_text: Tiny, script: bytes) -> tuple[StepText, Scripted]:
    session: Any = Scripted(script)
    return StepText(tiny_text.bundle.model(), {"step": session}), session
