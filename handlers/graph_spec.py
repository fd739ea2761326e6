"""Inputs and outputs of a graph: names, element types and shapes."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph; a dimension given by name is free, and equal wherever the name stands."""

    name: str
    dtype: Literal["float32", "float16", "uint8", "int64"]
    shape: tuple[int | str, ...]


@dataclasses.dataclass(frozen=True)
class GraphSpec:
    """Inputs and outputs of a graph, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
