"""Limits of a served model, a class for each kind of request: sizes, counts and seconds. Part of the manifest."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that every model has. Raises `ValueError` for one that is below 1 (`max_queue`: below 0)."""

    max_tile: int  # rows of a graph's batch that are computed at once
    max_slots: int  # requests that the engine computes at once
    max_queue: int  # requests that wait besides
    max_seconds: int  # from a request's arrival to its answer
    max_compute_seconds: int  # of silence from an engine that has work, until it is replaced
    max_request_bytes: int
    max_response_bytes: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < (0 if name == "max_queue" else 1):
                raise ValueError(f"{name} is {value}, wanted at least {0 if name == 'max_queue' else 1}")

    def document(self) -> dict[str, Any]:
        """Limits by name, for the manifest and the describe document; those that do not apply are left out."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchLimits(Limits):
    """Limits of generators that answer a whole batch at once (lane `batch`)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureLimits(BatchLimits):
    """Limits of generators that start from a picture (lane `batch`)."""

    max_pixels: int  # of a picture as it is stored, width times height
    max_upload_bytes: int  # of its file


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptLimits(Limits):
    """Limits of text that goes on from a prompt (lane `step`)."""

    max_prompt_bytes: int  # in UTF-8


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceLimits(Limits):
    """Limits of text from text (lane `step`)."""

    max_source: int  # tokens
    max_source_bytes: int  # in UTF-8
    source_multiple: int  # tokens; sources are padded to a multiple of it
    max_stop: int  # stop strings
    max_stop_characters: int  # of each
    max_pieces: int | None = None  # word pieces, where a BERT reads the source
    source_vocabulary: int | None = None  # word pieces that it knows


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioLimits(Limits):
    """Limits of sound (lane `step`)."""

    max_audio_seconds: int  # of one sound
    rate: int  # Hz of what the model makes; other rates are made of it


AnyLimits = BatchLimits | PictureLimits | PromptLimits | SourceLimits | AudioLimits
