"""What the peers answer with: the same engine and encoder as ours, called directly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def files(generator: Any, params: Sequence[Any]) -> list[tuple[bytes, str]]:
    """(file, content type) of each of some parsed parameters, computed together."""
    media = generator.generate(list(params))
    return [(item.body, asked.content_type) for item, asked in zip(media, params, strict=True)]
