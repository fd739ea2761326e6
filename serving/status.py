"""`/ready` and `/metrics` on a loopback port of the launcher.

Ready is 200 only while everything of the store really answers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

TEXT = "text/plain; version=0.0.4; charset=utf-8"


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
            document: dict[str, object] = {"ready": self._ready, "reason": self._reason, "models": self._models}
            details = {"refused": self._refused or None, "store": self.store, "fallbacks": self.fallbacks or None}
            return self._ready, {**document, **{key: value for key, value in details.items() if value is not None}}


class Source(Protocol):
    """Source of the text that `/metrics` serves."""

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        ...


class StatusServer:
    """Serves a `Status` and a `Source` until closed."""

    def __init__(self, status: Status, merged: Source, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # a half-sent request does not hold a thread

            def do_GET(self) -> None:
                if self.path == "/ready":
                    ready, document = status.get()
                    self._send(200 if ready else 503, json.dumps(document).encode())
                elif self.path == "/metrics":
                    self._send(200, merged.text(), TEXT)
                else:
                    message = "known paths: /ready, /metrics"
                    self._send(404, json.dumps({"code": 404, "message": message}).encode())

            def _send(self, code: int, body: bytes, content_type: str = "application/json") -> None:
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes come every second; they are not worth a line each."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
