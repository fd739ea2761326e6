"""Which names a request may come by, and which pages may read its answer."""

from __future__ import annotations

from gateway.errors import ApiError
from gateway.settings import Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
PREFLIGHT_SECONDS = 600  # for which a browser remembers what is allowed
EXPOSED = b"x-request-id, x-atelier-receipt, retry-after, x-should-retry"


class Origins:
    """`Host` and `Origin` of callers.

    Without keys a page of anybody's could ask, by a name that was made to point at this machine: so both have to be
    of this machine, or allowed by the setting `origins`. With keys the key decides, and `origins` says which pages may
    read answers.
    """

    def __init__(self, settings: Settings) -> None:
        self._keyless = settings.keyless
        self._allowed = frozenset(settings.origins)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._hosts = LOOPBACK | {host.lower()}

    def check(self, hosts: list[bytes], origin: bytes | None) -> None:
        """Raise `ApiError` for a request that may not come by this `Host` or from this `Origin`."""
        if len(hosts) != 1:
            raise ApiError(400, f"the request has {len(hosts)} Host headers, wanted one")
        if not self._keyless:
            return
        host = hosts[0].decode("latin-1")
        if _name(host) not in self._hosts:
            raise ApiError(403, f"Host is {host[:100]!r}, wanted localhost: without keys nobody else is answered")
        if origin is not None and not self.allows(origin):
            text = origin.decode("latin-1")
            if _name(text.partition("://")[2]) not in self._hosts:
                raise ApiError(
                    403, f"Origin is {text[:100]!r}, which may not ask here; the setting origins names pages that may"
                )

    def allows(self, origin: bytes | None) -> bool:
        """Whether the setting names it."""
        return origin is not None and bool(self._allowed) and origin.decode("latin-1") in self._allowed

    def headers(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        """What lets a page of this origin, which is allowed, read an answer."""
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"origin"),
        ]

    def preflight(self) -> dict[str, str]:
        """The answer to what a browser asks before it asks."""
        return {
            "access-control-allow-methods": "GET, POST, DELETE",
            "access-control-allow-headers": "authorization, content-type, accept",
            "access-control-max-age": str(PREFLIGHT_SECONDS),
        }


def of_this_machine(host: bytes) -> bool:
    """Whether a `Host` is a name of this machine that only itself uses."""
    return _name(host.decode("latin-1")) in LOOPBACK


def _name(host: str) -> str:
    """Without a port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and not port.endswith("]") else host).lower()
