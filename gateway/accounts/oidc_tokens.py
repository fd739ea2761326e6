"""ID tokens of an OpenID provider: signature by its published keys, and claims (OpenID Connect Core 1.0, 3.1.3.7)."""

from __future__ import annotations

import threading
import time
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from gateway.accounts.oidc_http import ProviderError, document

ALGORITHMS = ("RS256", "ES256")  # public keys alone: no token is signed by the client's secret, or by nothing
LEEWAY_SECONDS = 60  # by which two clocks may differ
AGAIN_SECONDS = 60.0  # before keys are asked for once more on behalf of a token that none of them fits
MAX_TOKEN = 64 << 10  # characters


class BadToken(Exception):
    """Error: an ID token is not for this sign-in; the message is for the operator and holds nothing of the token."""


class Keys:
    """The public keys of a provider, asked for when a token names one that is not known."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known: KeySet | None = None
        self._asked = 0.0
        self._turn = threading.Lock()

    def decode(self, token: str) -> jwt.Token:
        """A token whose signature is right. Raises `BadToken`, `ProviderError`."""
        with self._turn:  # one asks, however many wait
            known = self._known or self._ask()
        try:
            return _decoded(token, known)
        except InvalidKeyIdError:
            with self._turn:
                if self._known is known and time.monotonic() - self._asked > AGAIN_SECONDS:
                    self._ask()
                newer = self._known or known
        try:
            return _decoded(token, newer)
        except InvalidKeyIdError:
            raise BadToken("the ID token was signed by a key that the provider does not publish") from None

    def _ask(self) -> KeySet:
        read = document(self._url)
        try:
            self._known = KeySet.import_key_set(read)
        except (JoseError, ValueError, KeyError, TypeError):
            raise ProviderError(f"{self._url} holds no keys, wanted a JSON Web Key Set") from None
        self._asked = time.monotonic()
        return self._known


def checked(token: object, keys: Keys, issuer: str, client: str, nonce: str, access: object) -> dict[str, Any]:
    """The claims of a token that is `issuer`'s, for `client`, of this sign-in, and in time. Raises `BadToken`."""
    if not isinstance(token, str) or len(token) > MAX_TOKEN:
        raise BadToken("the provider sent no ID token; is openid among its scopes?")
    read = keys.decode(token)
    wanted = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client}}
    known = {"nonce": nonce, "client_id": client, "access_token": access}
    claims = CodeIDToken(read.claims, read.header, wanted, known)
    try:
        claims.validate(leeway=LEEWAY_SECONDS)
    except ExpiredTokenError:
        raise BadToken("the ID token has expired; are the clocks of both machines right?") from None
    except JoseError as error:
        raise BadToken(f"the ID token is not for this sign-in: {error.description or error.error}") from None
    return dict(claims)


def _decoded(token: str, keys: KeySet) -> jwt.Token:
    try:
        return jwt.decode(token, keys, algorithms=list(ALGORITHMS))
    except InvalidKeyIdError:
        raise
    except (JoseError, ValueError) as error:
        raise BadToken(f"the ID token cannot be trusted: {type(error).__name__}") from None
