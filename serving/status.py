"""What `/ready` tells: ready is 200 only while everything of the store really answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping


class Status:
    """The state that `/ready` tells: set by the launcher, read by the HTTP threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready = False
        self._reason = "starting"
        self._models: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self.torchserve_restarts = 0
        self.store: str | None = None  # how the store differs from what is served
        self.fallbacks: dict[str, str] = {}  # by model, why what was chosen for this machine is not what runs
        self.warnings: list[str] = []  # what an operator should know, while it serves all the same
        self.gateway: str | None = None  # where it answered last, if there is one
        self.gateway_trouble: str | None = None  # why it does not answer now
        self.gateway_restarts = 0

    def set(
        self,
        ready: bool,
        reason: str,
        models: dict[str, str] | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        """Replace the state; `models` maps a name to its own word, `refused` an archive to a reason.

        Either is kept if it is not given. While an archive is refused nothing is ready: what was put into the store is
        not what is served.
        """
        with self._lock:
            self._models = self._models if models is None else models
            self._refused = self._refused if refused is None else dict(refused)
            self._ready, self._reason = ready and not self._refused, reason
            if self._refused:
                names = "; ".join(f"{name} is refused: {why}" for name, why in self._refused.items())
                self._reason = f"{names} (the others are served: {reason})"

    def get(self) -> tuple[bool, dict[str, object]]:
        """(ready, the JSON document)."""
        with self._lock:
            trouble = self.gateway_trouble
            reason = trouble if self._ready and trouble is not None else self._reason
            ready = self._ready and trouble is None
            document: dict[str, object] = {"ready": ready, "reason": reason, "models": self._models}
            details: dict[str, object] = {
                "refused": self._refused,
                "store": self.store,
                "fallbacks": self.fallbacks,
                "warnings": self.warnings,
                "gateway": trouble or self.gateway,
            }
            return ready, {**document, **{key: value for key, value in details.items() if value}}
