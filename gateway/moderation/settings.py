"""The table `moderation` of the settings; that it is there turns moderation on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.moderation.categories import CATEGORIES, Action

DEFAULT_BLOCKED = Path("artifacts/gateway/blocked.json")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassifierSettings(_Table):
    """A classifier that is asked over HTTP, and answers as `/v1/moderations` does."""

    url: str = Field(pattern=r"^https?://[^/]")
    seconds: float = Field(default=2, gt=0, le=60)  # for one answer
    on_failure: Literal["refuse", "allow"] = "refuse"
    at_once: int = Field(default=8, ge=1)  # questions at once; others wait within their seconds
    key_file: Path | None = None  # a file with the key that is sent as `Authorization: Bearer`


class ModerationSettings(_Table):
    """What is looked for, and what becomes of it."""

    folder: Path | None = None  # word lists; absent: the small ones for trials
    blocked: Path = DEFAULT_BLOCKED  # the list of blocked images
    distance: int = Field(default=10, ge=0, le=20)  # bits of 128 by which an image may differ from a blocked one
    characters: int = Field(default=100_000, ge=1, le=1_000_000)  # of all texts of one request
    actions: dict[str, Action] = {}  # by category; absent: refuse
    results: bool = True  # whether what models make is looked at, too
    classifier: ClassifierSettings | None = None
    keep_texts: bool = False  # whether texts that met a rule are kept, sealed under `encryption_keys`

    @model_validator(mode="after")
    def _fit(self) -> Self:
        unknown = sorted(set(self.actions) - set(CATEGORIES))
        if unknown:
            raise ValueError(f"moderation.actions names {unknown[0]!r}, wanted categories: {', '.join(CATEGORIES)}")
        return self
