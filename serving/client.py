"""One HTTP request to an address: `http://host:port`, `https://host:port` or `unix:/path`."""

from __future__ import annotations

import dataclasses
import http.client
import socket
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Response:
    """An HTTP answer: status, headers (their names in lower case), body."""

    status: int
    headers: dict[str, str]
    body: bytes


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(
    address: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Response:
    """Send one request over a connection of its own. Raises `OSError` when nothing answers."""
    if address.startswith("unix:"):
        connection: http.client.HTTPConnection = _UnixConnection(address.removeprefix("unix:"), timeout)
    elif address.startswith("https://"):  # verified by the system's authorities, or those of SSL_CERT_FILE
        connection = http.client.HTTPSConnection(address.removeprefix("https://"), timeout=timeout)
    else:
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    except http.client.HTTPException as error:
        raise OSError(f"{address} answered with no valid HTTP: {error!r}") from error
    finally:
        connection.close()
