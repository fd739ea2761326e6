"""A caller, as every route sees it."""

from __future__ import annotations

import dataclasses

from gateway.errors import ApiError
from gateway.settings import LimitSettings

# The medium of a model, by its describe document -> the unit that its work is counted in.
UNITS = {"image": "images", "text": "tokens", "audio": "audio_seconds"}
SCOPES = (*(f"{medium}:generate" for medium in UNITS), "metrics")


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who sent a request: the id of its key, what it may do (`scopes`; none named: everything), its own limits."""

    id: str  # what stands in X-Atelier-Caller, logs and metrics' neighbours; never the key itself
    name: str
    scopes: frozenset[str] = frozenset()
    limits: LimitSettings = LimitSettings()
    owner: str = ""  # whose its history, results and jobs are; absent: its own
    expires: float | None = None  # when its key does, in seconds since 1970

    def __post_init__(self) -> None:
        if not self.owner:
            object.__setattr__(self, "owner", self.id)

    def may(self, scope: str) -> bool:
        """Whether its key allows `scope`."""
        return not self.scopes or scope in self.scopes

    def need(self, medium: str) -> None:
        """Raise a 403 unless this caller may use models of a medium: image, text, audio."""
        self.need_scope(f"{medium}:generate")

    def need_scope(self, scope: str) -> None:
        """Raise a 403 unless this caller's key has the scope."""
        if not self.may(scope):
            raise ApiError(
                403,
                f"this needs a key with the scope {scope}; key {self.id} has {', '.join(sorted(self.scopes))}. "
                f"Its operator makes one by `python -m gateway keys create --name NAME --scope {scope}`",
                code="insufficient_scope",
            )


ANYBODY = Caller("anybody", "anybody")  # where no keys are wanted


def share_of(identity: str) -> str | None:
    """Whose share is used of what callers divide among them; None for everybody together, who may have all of it."""
    return None if identity == ANYBODY.id else identity
