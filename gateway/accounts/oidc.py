"""Sign-in by an OpenID provider: authorization code with PKCE (RFC 7636), state and nonce. Everything here blocks.

A sign-in is begun once and finished once, by the browser that began it, within minutes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from gateway.accounts.oidc_http import ProviderError, document, safe
from gateway.accounts.oidc_tokens import BadToken, Keys, checked

SCOPE = "openid profile"
MINUTES = 10  # from the beginning of a sign-in to its end
UNDER_WAY = 4096  # sign-ins; the oldest is forgotten first
METADATA_SECONDS = 3600.0
DOWN_SECONDS = 5.0  # for which a provider that did not describe itself is not asked again
MAX_WORD = 2048  # characters of a code or a state
MAX_SUBJECT = 200  # characters; the standard allows 255 bytes, and the table keeps 200
NAMES = ("preferred_username", "name")  # claims that a person is called by, the best first


class SignInError(Exception):
    """Error: nobody is signed in. The message is for the operator's log; a visitor is told to try again."""


@dataclasses.dataclass(frozen=True)
class Client:
    """What the provider knows us by; `secret` None: a public client, which PKCE alone protects."""

    issuer: str
    id: str
    redirect: str  # where it sends the browser back to, as it is registered there
    secret: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class Identity:
    """Who signed in: `subject` is the provider's for good; `name` is what it calls them, and proves nothing."""

    issuer: str
    subject: str
    name: str


@dataclasses.dataclass(frozen=True)
class _Begun:
    browser: str  # SHA-256 of what the browser's cookie holds
    nonce: str
    verifier: str
    at: float


class OpenId:
    """One provider."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._change = threading.Lock()
        self._metadata: tuple[dict[str, Any], Keys, float] | None = None
        self._down = ("", -DOWN_SECONDS)  # why it did not describe itself, and when
        self._asking = threading.Lock()

    def begin(self, browser: str) -> str:
        """Where to send a browser, which holds `browser`, a random word, in a cookie. Raises `SignInError`."""
        found, _keys = self._provider()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        with self._change:
            self._begun[state] = _Begun(_digest(browser), nonce, verifier, time.monotonic())
            while len(self._begun) > UNDER_WAY:
                self._begun.popitem(last=False)
        more = {"state": state, "nonce": nonce, "redirect_uri": self.client.redirect, "scope": SCOPE}
        challenge = {"code_challenge": create_s256_code_challenge(verifier), "code_challenge_method": "S256"}
        return str(prepare_grant_uri(found["authorization_endpoint"], self.client.id, "code", **more, **challenge))

    def finish(self, browser: str | None, query: Mapping[str, str]) -> Identity:
        """Who came back from the provider with this query. Raises `SignInError`."""
        begun = self._take(browser, query.get("state", ""))
        if "error" in query:
            raise SignInError(f"the provider refused: {query['error'][:60]!r}")
        found, keys = self._provider()
        # By whom the answer is (RFC 9207): with two providers one could pass another's code on.
        sent_by = query.get("iss")
        if sent_by is None and found.get("authorization_response_iss_parameter_supported") is True:
            raise SignInError("the provider's answer does not say whose it is, which this provider always does")
        if sent_by not in (None, self.client.issuer):
            raise SignInError(f"the answer is of {sent_by[:100]!r}, wanted {self.client.issuer!r}")
        code = query.get("code", "")
        if not code or len(code) > MAX_WORD:
            raise SignInError("the provider's answer holds no code")
        try:
            tokens = self._redeem(found, code, begun.verifier)
            known = (self.client.issuer, self.client.id, begun.nonce, tokens.get("access_token"))
            return self._identity(checked(tokens.get("id_token"), keys, *known))
        except (ProviderError, BadToken) as error:
            raise SignInError(str(error)) from None

    def _take(self, browser: str | None, state: str) -> _Begun:
        """The sign-in of a state, which is good once, and for the browser that began it."""
        with self._change:
            begun = self._begun.get(state)
            if begun is None or time.monotonic() - begun.at > MINUTES * 60:
                raise SignInError(f"this sign-in was finished already, or begun over {MINUTES} minutes ago")
            if browser is None or not hmac.compare_digest(_digest(browser), begun.browser):
                raise SignInError("this sign-in was begun by another browser")
            return self._begun.pop(state)

    def _provider(self) -> tuple[dict[str, Any], Keys]:
        """What the provider says of itself (OpenID Connect Discovery 1.0), asked for once an hour."""
        with self._asking:
            known = self._metadata
            if known is not None and time.monotonic() - known[2] < METADATA_SECONDS:
                return known[0], known[1]
            why, at = self._down
            if why and time.monotonic() - at < DOWN_SECONDS:
                raise SignInError(why)
            url = f"{self.client.issuer.rstrip('/')}/.well-known/openid-configuration"
            try:
                found = document(url)
                if found.get("issuer") != self.client.issuer:
                    said = str(found.get("issuer"))[:100]
                    raise ProviderError(f"{url} is of {said!r}, wanted {self.client.issuer!r}, letter by letter")
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    if not isinstance(found.get(name), str):
                        raise ProviderError(f"{url} names no {name}")
                    safe(found[name])
            except ProviderError as error:
                self._down = str(error), time.monotonic()
                raise SignInError(str(error)) from None
            self._metadata = found, Keys(found["jwks_uri"]), time.monotonic()
            return self._metadata[0], self._metadata[1]

    def _redeem(self, found: Mapping[str, Any], code: str, verifier: str) -> dict[str, Any]:
        client = self.client
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": client.redirect}
        form |= {"code_verifier": verifier, "client_id": client.id}
        headers = {}
        if client.secret is not None:
            known = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
            if "client_secret_basic" in known or "client_secret_post" not in known:
                both = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"  # RFC 6749, 2.3.1
                headers["Authorization"] = f"Basic {base64.b64encode(both.encode()).decode()}"
            else:
                form["client_secret"] = client.secret
        tokens: dict[str, Any] = document(found["token_endpoint"], form, headers)
        return tokens

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
            raise BadToken(f"the ID token's sub is no text of 1 to {MAX_SUBJECT} characters")
        names = (claims.get(name) for name in NAMES)
        name = next((name for name in names if isinstance(name, str) and name.strip()), subject)
        return Identity(self.client.issuer, subject, name)


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
