"""`/ready` on a loopback port of the launcher: 200 only while every model really answers, else 503 with the reason."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Status:
    """What `/ready` says; set by the launcher, read by the HTTP threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready = False
        self._reason = "starting"
        self._models: dict[str, str] = {}

    def set(self, ready: bool, reason: str, models: dict[str, str] | None = None) -> None:
        """Replace the state; `models` maps a name to its own word (kept if not given)."""
        with self._lock:
            self._ready, self._reason = ready, reason
            self._models = self._models if models is None else models

    def get(self) -> tuple[bool, dict[str, object]]:
        """(ready, the JSON document)."""
        with self._lock:
            return self._ready, {"ready": self._ready, "reason": self._reason, "models": self._models}


class StatusServer:
    """Serves a `Status` until closed."""

    def __init__(self, status: Status, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # a half-sent request does not hold a thread

            def do_GET(self) -> None:
                ready, document = status.get()
                code = 404 if self.path != "/ready" else 200 if ready else 503
                body = json.dumps(document if code != 404 else {"code": 404, "message": "known paths: /ready"}).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
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
