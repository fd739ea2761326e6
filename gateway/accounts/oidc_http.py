"""What is asked of an OpenID provider: JSON documents, bounded in time and size, without redirections. It blocks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

MAX_BYTES = 256 << 10  # of a document; some 100 keys are 50 kB
SECONDS = 5.0  # that a provider may be silent
WHOLE_SECONDS = 10.0  # for a document that comes in drops
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ProviderError(Exception):
    """Error: the provider does not answer, or not with what its standard says; the message is for the operator."""


class _NoRedirections(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A secret goes to the address that was given, and nowhere else."""


def safe(url: str) -> str:
    """The URL as it is, if it is of TLS or of this machine. Raises `ProviderError`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)):
        return url
    raise ProviderError(f"the address {url[:100]!r} is neither https nor of this machine: nothing is sent to it")


def document(url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None) -> Any:
    """The JSON object at `url`; with `form`, what is answered to it. Raises `ProviderError`."""
    body = None if form is None else urlencode(form).encode()
    asked = Request(safe(url), body, {"Accept": "application/json", **(headers or {})})
    until = time.monotonic() + WHOLE_SECONDS
    found = b""
    try:
        with build_opener(_NoRedirections).open(asked, timeout=SECONDS) as answer:
            while piece := answer.read1(MAX_BYTES):
                found += piece
                if len(found) > MAX_BYTES:
                    raise ProviderError(f"{url} has more than {MAX_BYTES} bytes")
                if time.monotonic() > until:
                    raise ProviderError(f"{url} was not whole after {WHOLE_SECONDS:.0f} s")
    except HTTPError as error:
        with error:
            raise ProviderError(f"{url} answered {error.code}{_said(error)}") from None
    except (OSError, HTTPException) as error:
        raise ProviderError(f"{url} does not answer: {getattr(error, 'reason', None) or error}") from None
    try:
        read = json.loads(found)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise ProviderError(f"{url} answered {found[:60]!r}, wanted a JSON object")
    return read


def _said(error: HTTPError) -> str:
    """The code that OAuth has for a refusal (RFC 6749, 5.2): it tells an operator what is set wrong."""
    try:
        code = json.loads(error.read(MAX_BYTES))["error"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return ""
    return f" ({code[:60]})" if isinstance(code, str) and code.isprintable() else ""
