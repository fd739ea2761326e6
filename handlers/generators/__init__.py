"""One file per generator kind; the table is closed, so a manifest cannot name an arbitrary import."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from handlers.bundle import Bundle
    from handlers.generator import BatchGenerator, StepGenerator
    from handlers.runtimes.session import Session

KINDS = {
    "latent_image": ("handlers.generators.latent_image", "LatentImage"),
    "seq2seq": ("handlers.generators.seq2seq", "Seq2Seq"),
    "step_text": ("handlers.generators.step_text", "StepText"),
}


def create(bundle: Bundle, sessions: dict[str, Session]) -> BatchGenerator | StepGenerator:
    """The generator of `bundle.manifest.kind` over one open session per role. Raises `ValueError` listing the kinds."""
    kind = bundle.manifest.kind
    if kind not in KINDS:
        raise ValueError(f"manifest.json has kind {kind!r}; this version knows {', '.join(sorted(KINDS))}")
    module, name = KINDS[kind]
    return cast("BatchGenerator | StepGenerator", getattr(importlib.import_module(module), name)(bundle, sessions))
