"""A real server with the gateway before it, as `serving up --gateway` runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from benchmarks.server import Server, running
from tests.support.raw_http import Caller, Neighbour


@dataclasses.dataclass(frozen=True)
class Front:
    """One that runs; `caller` is somebody outside."""

    server: Server
    caller: Caller

    @property
    def processes(self) -> dict[str, int]:
        """Process ids of everything that serves, by what it is."""
        found = {"gateway": self.server.gateway_process().pid, "jvm": self.server.jvm().pid}
        found |= {f"worker {process.pid}": process.pid for process in self.server.workers()}
        return found | {f"engine {process.pid}": process.pid for process in self.server.engines()}

    def memory(self) -> int:
        """Resident bytes of the gateway."""
        return int(self.server.gateway_process().memory_info().rss)

    @contextmanager
    def unshaken(self, path: str = "/v1/images/generations", model: str = "tiny") -> Iterator[Caller]:
        """Somebody outside, whose bytes arrive; nothing may be started again, and a neighbour is answered meanwhile."""
        before, sent = self.processes, self.caller.sent
        with Neighbour(Caller(self.caller.port), path, {"model": model, "prompt": ""}) as neighbour:
            yield self.caller
        assert self.caller.sent > sent, "an attack that sent nothing shows nothing"
        assert set(neighbour.outcomes) == {"200"}, neighbour.outcomes
        assert self.processes == before
        self.server.await_ready()


@contextmanager
def behind_a_gateway(
    store: Path, folder: Path, *options: str, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Front]:
    """Start one whose gateway has these settings, on a free port; its database and log lie in `folder`."""
    given = {"port": "0", "database": f"sqlite:///{folder}/gateway.db", **settings}
    environment = {f"ATELIER_GATEWAY_{name.upper()}": value for name, value in given.items()}
    with running(store, folder / "run", "--gateway", *options, environment=environment) as server:
        assert server.gateway is not None
        yield Front(server, Caller(int(server.gateway.rpartition(":")[2])))


__all__ = ["Front", "behind_a_gateway"]
