"""Who looks at a page: the session of its cookie, and whether what it sends comes from a page of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from flask import Flask, abort, redirect, request
from starlette.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from gateway.accounts.auth import Accounts
from gateway.accounts.sessions import Session, csrf_of, digest, is_ours

ACCOUNTS = "accounts"  # what the application's extensions hold: how to get at them once they are open


@dataclasses.dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in."""

    session: Session
    token: str

    @property
    def csrf(self) -> str:
        """The word that a form brings back."""
        return csrf_of(self.token)


def accounts_of(app: Flask) -> Accounts:
    """The accounts of the running gateway."""
    opened: Callable[[], Accounts] = app.extensions[ACCOUNTS]
    return opened()


def visitor(accounts: Accounts) -> Visitor | None:
    """Whose browser this is; None: nobody's who is signed in. It blocks."""
    token = accounts.cookie.token(Headers(dict(request.headers)))
    session = accounts.sessions.find(digest(token)) if token is not None else None
    if token is None or session is None or session.over(accounts.cookie.idle_days):
        return None
    return Visitor(session, token)


def needed(accounts: Accounts, *, admin: bool = False) -> Visitor:
    """The same; whoever is not signed in is sent to do so, and what another page sent is refused."""
    found = visitor(accounts)
    if found is None:
        raise Elsewhere("/web/login")
    if request.method == "POST" and not is_ours(found.token, lowered(), request.form.get("csrf", "")):
        abort(403, "this form does not come from a page of ours, or is of an older session: open the page again")
    if admin and not found.session.user.is_admin:
        abort(403, "this page is for those who look after the gateway; you are signed in as a user")
    return found


def lowered() -> dict[str, str]:
    """The request's headers, by their names in lower case."""
    return {name.lower(): value for name, value in request.headers.items()}


class Elsewhere(HTTPException):
    """Sends a browser to another page of ours."""

    code = 303

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def get_response(self, *_: object, **__: object) -> Response:
        """A redirection that is a GET whatever came before."""
        return redirect(self.path, 303)
