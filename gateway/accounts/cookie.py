"""The cookie of a session: what it is called, how long it lasts, and how it is read and set."""

from __future__ import annotations

import dataclasses
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers

DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Cookie:
    """`secure`: callers come over TLS, so browsers hold it to this host and to TLS."""

    secure: bool = False
    days: float = 30.0
    idle_days: float = 7.0

    @property
    def name(self) -> str:
        """The prefix has browsers refuse a cookie that another host, a path or plain HTTP set."""
        return "__Host-atelier" if self.secure else "atelier"

    def token(self, headers: Headers) -> str | None:
        """What a request brings; None: nothing."""
        found = SimpleCookie()
        for line in headers.getlist("cookie"):
            try:
                found.load(line)
            except CookieError:
                continue
        return found[self.name].value or None if self.name in found else None

    def set(self, token: str) -> str:
        """The header that sets it; an empty one takes it away."""
        age = int(self.days * DAY) if token else 0
        tls = "; Secure" if self.secure else ""
        return f"{self.name}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{tls}"
