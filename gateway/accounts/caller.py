"""A caller, as every route sees it."""

from __future__ import annotations

import dataclasses

from gateway.settings import LimitSettings


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who sent a request: the id of its key, what it may do (`scopes`; none named: everything), its own limits."""

    id: str  # what stands in X-Atelier-Caller, logs and metrics' neighbours; never the key itself
    name: str
    scopes: frozenset[str] = frozenset()
    limits: LimitSettings = LimitSettings()

    def may(self, scope: str) -> bool:
        """Whether its key allows `scope`."""
        return not self.scopes or scope in self.scopes


ANYBODY = Caller("anybody", "anybody")  # where no keys are wanted
