"""A small OpenID provider on a port of its own: it signs real tokens, and lies where a test tells it to."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT, SECRET = "atelier", "a secret:with%signs"


def new_key(algorithm: str) -> RSAKey | ECKey:
    """One that nobody has, with an id of its own."""
    if algorithm == "RS256":
        return RSAKey.generate_key(2048, auto_kid=True)
    return ECKey.generate_key("P-256", auto_kid=True)


@functools.cache
def usual() -> dict[str, RSAKey | ECKey]:
    """Those of every provider; making one takes long."""
    return {algorithm: new_key(algorithm) for algorithm in ("RS256", "ES256")}


class Provider:
    """`claims` replace those of its tokens (None: the claim is left out); `metadata` those of its description."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.algorithm = "RS256"
        self.keys = dict(usual())
        self.stranger = False  # signs with a key that it does not publish
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.secret: str | None = SECRET
        self.codes: dict[str, dict[str, str]] = {}  # what was asked for, by a code that was not redeemed
        self.asked: list[str] = []  # paths

    def approve(self, url: str, subject: str = "0815", **claims: Any) -> dict[str, str]:
        """Somebody signs in at the address that a browser was sent to: the query that it comes back with."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert url.startswith(f"{self.issuer}/authorize?")
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT, "S256")
        code = f"code-{len(self.codes)}-{time.monotonic_ns()}"
        self.codes[code] = {**asked, "claims": json.dumps({"sub": subject, "preferred_username": "alice", **claims})}
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def described(self) -> dict[str, Any]:
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer, **{k: f"{self.issuer}/{v}" for k, v in paths.items()}, **self.metadata}

    def published(self) -> dict[str, Any]:
        return dict(KeySet(list(self.keys.values())).as_dict(private=False))

    def redeem(self, form: dict[str, str], authorization: str | None) -> tuple[int, dict[str, Any]]:
        """The token endpoint: the client, the code and the verifier have to be right."""
        if self.secret is not None:
            if authorization is not None:
                name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
                name, secret = unquote_plus(name), unquote_plus(secret)
            else:
                name, secret = form["client_id"], form.get("client_secret", "")
            if (name, secret) != (CLIENT, self.secret):
                return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        made = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims |= {**json.loads(asked["claims"]), **self.claims}
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.sign(claims)}

    def sign(self, claims: dict[str, Any]) -> str:
        known = self.keys[self.algorithm]
        key = new_key(self.algorithm) if self.stranger else known
        header = {"alg": self.algorithm, "kid": known.kid}
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(header, kept, key, algorithms=["RS256", "ES256"])


@contextmanager
def oidc_provider() -> Iterator[Provider]:
    """One that answers until the end."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            made.asked.append(self.path)
            answers = {"/.well-known/openid-configuration": made.described, "/keys": made.published}
            self._send(200, answers[self.path]()) if self.path in answers else self._send(404, {})

        def do_POST(self) -> None:
            made.asked.append(self.path)
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._send(*made.redeem(form, self.headers.get("authorization")))

        def _send(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Provider(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
