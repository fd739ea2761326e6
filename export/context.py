"""The values that travel together from a checkpoint to a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from export.budget import Budget
from export.graphs import GeneratorKind
from export.notebook import Notebook
from export.options import Options, Say
from handlers.generator import Model
from handlers.runtimes.device import Machine


@dataclasses.dataclass(frozen=True)
class Build:
    """One model that is built or measured again: its graphs, and what its variants are compared with."""

    model: Model  # name, the name of the kind, limits, assets
    kind: GeneratorKind
    fp32: Mapping[str, bytes]  # role -> FP32 ONNX file
    wanted: Any  # media of the reference, which `kind.quality` compares those of a variant with
    runtimes: tuple[str, ...]  # wanted and installed
    here: Machine  # that judges
    options: Options
    budget: Budget
    notebook: Notebook
    say: Say
