"""The account of one fault: how many requests of a steady traffic ended in which way, and when the server was back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.server import Server, eventually
from benchmarks.traffic import LOST, Traffic, request_outcome

CLIENTS = 8
FLOW_SECONDS = 0.7  # of traffic before and after a fault


@dataclasses.dataclass(frozen=True)
class FaultResult:
    """The cost of one fault in requests and seconds."""

    fault: str
    outcomes: Mapping[str, int]  # status, "refused" or "lost" -> requests
    recovered_s: float  # until a request was answered again
    sudden: bool = False  # SIGKILL to a proxy or to the JVM: what they hold in that moment cannot be kept

    @property
    def lost(self) -> int:
        """Requests that were accepted and never heard of again, though nobody killed what held them."""
        return 0 if self.sudden else self.outcomes.get(LOST, 0)

    @property
    def lost_in_flight(self) -> int:
        """Requests that were held by a process as it was killed."""
        return self.outcomes.get(LOST, 0) if self.sudden else 0


def until_answered(server: Server, model: str, seconds: float = 40) -> float:
    """Seconds until a plain request is answered with 200."""
    return eventually(
        lambda: request_outcome(server, model, 5, seed=1) == "200", seconds, f"{model} never answered again"
    )


def under_traffic(
    server: Server,
    model: str,
    fault: str,
    do: Callable[[], object],
    *,
    back_seconds: float = 40,
    sudden: bool = False,
    **params: Any,
) -> FaultResult:
    """`do` in the middle of steady traffic, until the model answers again and for a while after that."""
    with Traffic(server, model, CLIENTS, **params) as traffic:
        time.sleep(FLOW_SECONDS)
        do()
        recovered = until_answered(server, model, back_seconds)
        time.sleep(FLOW_SECONDS)
    eventually(lambda: server.ready()[0] == 200, back_seconds + 20, f"not ready again after: {fault}")
    return FaultResult(fault, traffic.outcomes, round(recovered, 2), sudden)
