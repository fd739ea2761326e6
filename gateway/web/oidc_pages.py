"""Signing in by an OpenID provider: the way there, and the way back with whoever it says that is."""

from __future__ import annotations

import secrets
import threading

import structlog
from flask import Blueprint, Flask, current_app, redirect, request
from starlette.datastructures import Headers
from werkzeug.wrappers import Response as Answer

from gateway.accounts.cookie import Cookie
from gateway.accounts.oidc import MINUTES, Client, Identity, OpenId, SignInError
from gateway.accounts.people import MAX_NAME, NameTaken, User, Users, fault
from gateway.settings import OidcSettings, Settings, SettingsError
from gateway.web.account_pages import shown, signed_in
from gateway.web.visitor import accounts_of

BACK = "/web/oidc/back"
OPENID = "oidc"  # what the application's extensions hold of it
NAMES = 5  # tries to find one that nobody has
log = structlog.get_logger("gateway.web")
routes = Blueprint("oidc", __name__, url_prefix="/web/oidc")
_making = threading.Lock()  # two first sign-ins of one person make one user


class _Word(Cookie):
    """The cookie that ties a sign-in to the browser which began it."""

    @property
    def name(self) -> str:
        """Beside that of sessions."""
        return f"{super().name}-oidc"


def mount(app: Flask, settings: Settings) -> None:
    """Add the pages, where a provider is set. Raises `SettingsError`."""
    oidc = settings.oidc
    app.jinja_env.globals["oidc"] = None if oidc is None or settings.keyless else oidc.name
    if oidc is None or settings.keyless:
        return
    client = Client(oidc.issuer, oidc.client_id, f"{(settings.public_url or '').rstrip('/')}{BACK}", _secret(oidc))
    app.extensions[OPENID] = OpenId(client), oidc.make_users
    app.register_blueprint(routes)


@routes.get("")
def begin() -> Answer:
    """Send the browser to the provider."""
    openid, _make = current_app.extensions[OPENID]
    browser = secrets.token_urlsafe(32)
    try:
        answer = redirect(openid.begin(browser), 303)
    except SignInError as error:
        return _failed(error)
    answer.headers["Set-Cookie"] = _word().set(browser)
    return answer


@routes.get("/back")
def back() -> Answer:
    """Begin a session for whoever comes back."""
    openid, make = current_app.extensions[OPENID]
    users = accounts_of(current_app).users
    try:
        found = openid.finish(_word().token(Headers(dict(request.headers))), request.args.to_dict())
        user = _user(users, found, make)
    except SignInError as error:
        return _failed(error)
    answer = signed_in(user)
    answer.headers.add("Set-Cookie", _word().set(""))
    return answer


def _word() -> _Word:
    return _Word(accounts_of(current_app).cookie.secure, days=MINUTES / (24 * 60))


def _user(users: Users, found: Identity, make: bool) -> User:
    """Who is known by this issuer and subject, or a new one. A name alone makes nobody somebody else."""
    with _making:
        user = users.known_as(found.issuer, found.subject)
        if user is None and make:
            user = _made(users, found)
    if user is None:
        raise SignInError(f"{found.name[:60]!r} ({found.subject[:60]!r}) has no account, and oidc.make_users is false")
    if user.disabled is not None:
        raise SignInError(f"user {user.id} is disabled")
    return user


def _made(users: Users, found: Identity) -> User:
    name = found.name.strip()[: MAX_NAME - 10]
    if fault(name) is not None:
        name = "user"
    for attempt in range(NAMES):
        try:
            more = f" {secrets.token_hex(3)}" if attempt else ""
            return users.create(f"{name}{more}", "user", oidc=(found.issuer, found.subject))
        except NameTaken:
            continue
    raise SignInError(f"no name like {name!r} is free")


def _failed(error: SignInError) -> Answer:
    log.warning("nobody was signed in by the provider", reason=str(error))
    return shown("login.html", 403, most=MAX_NAME, problem="oidc_failed")


def _secret(oidc: OidcSettings) -> str | None:
    if oidc.client_secret_file is None:
        return None
    try:
        secret = oidc.client_secret_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"setting oidc.client_secret_file: {oidc.client_secret_file}: {error}") from None
    if not secret:
        raise SettingsError(f"setting oidc.client_secret_file: {oidc.client_secret_file} is empty, wanted the secret")
    return secret
