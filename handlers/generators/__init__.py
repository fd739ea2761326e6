"""One file per generator kind; the table is closed, so a manifest cannot name an arbitrary import."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from handlers.generator import BatchGenerator, Model, StepGenerator
    from handlers.runtimes.session import Session

KINDS = {
    "latent_audio": ("handlers.generators.latent_audio", "LatentAudio"),
    "latent_image": ("handlers.generators.latent_image", "LatentImage"),
    "seq2seq": ("handlers.generators.seq2seq", "Seq2Seq"),
    "step_audio": ("handlers.generators.step_audio", "StepAudio"),
    "step_text": ("handlers.generators.step_text", "StepText"),
    "windowed_audio": ("handlers.generators.windowed_audio", "WindowedAudio"),
}


def create(model: Model, sessions: dict[str, Session]) -> BatchGenerator | StepGenerator:
    """The generator of `model.kind` over one open session per role. Raises `ValueError` listing the kinds."""
    if model.kind not in KINDS:
        raise ValueError(f"{model.name} is of kind {model.kind!r}; this version knows {', '.join(sorted(KINDS))}")
    module, name = KINDS[model.kind]
    return cast("BatchGenerator | StepGenerator", getattr(importlib.import_module(module), name)(model, sessions))
