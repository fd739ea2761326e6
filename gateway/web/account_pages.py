"""Signing in and out, one's own keys and sessions. Every page works without JavaScript."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, request
from werkzeug.wrappers import Response as Answer

from gateway.accounts.caller import SCOPES
from gateway.accounts.passwords import MAX_LENGTH, MIN_LENGTH, TooManyFailures, WeakPassword
from gateway.accounts.people import MAX_NAME, User
from gateway.accounts.sessions import NoSuchSession
from gateway.accounts.store import NoSuchKey
from gateway.web.language import chosen, dictionaries
from gateway.web.visitor import Visitor, accounts_of, lowered, needed, visitor

WORDS = dictionaries(Path(__file__).parent / "templates" / "accounts")
POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
MAX_KEYS = 50  # open keys of one user
DAYS = (30, 90, 365)  # that a key made here may be good for; 0: for good
routes = Blueprint("accounts", __name__, url_prefix="/web")


def shown(template: str, status: int = 200, **values: Any) -> Response:
    """A page in the reader's language."""
    language = chosen(request.args.get("lang"), request.accept_languages, WORDS)
    names = {name: found["language"] for name, found in WORDS.items()}
    text = render_template(
        f"accounts/{template}", language=language, languages=names, words=WORDS[language], day=day, **values
    )
    headers = {"Content-Security-Policy": POLICY, "Cross-Origin-Opener-Policy": "same-origin"}
    return Response(text, status, {**headers, "Vary": "Accept-Language, Cookie"})


def day(at: float | None) -> str:
    """A time as people write it, in UTC; nothing for none."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


@routes.get("/session")
def session() -> Response:
    """Who is signed in, and the word that changes something by the cookie: for the page's scripts."""
    accounts, keyless = accounts_of(current_app), current_app.config["KEYLESS"]
    found = None if keyless else visitor(accounts)
    who = None if found is None else {"name": found.session.user.name, "role": found.session.user.role}
    return jsonify(user=who, csrf=None if found is None else found.csrf, keyless=keyless)


@routes.get("/login")
def login_page() -> Answer:
    """The form; whoever is signed in already goes on to the page, and so does everybody where no keys are wanted."""
    if current_app.config["KEYLESS"] or visitor(accounts_of(current_app)) is not None:
        return redirect("/", 303)
    return shown("login.html", most=MAX_NAME)


@routes.post("/login")
def login() -> Answer:
    """Compare name and password, and begin a session."""
    accounts = accounts_of(current_app)
    if lowered().get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return shown("login.html", 403, most=MAX_NAME, problem="foreign")
    name, password = request.form.get("name", "")[:MAX_NAME], request.form.get("password", "")
    user = accounts.users.named(name)
    stored = user.password if user is not None and user.disabled is None else None
    try:
        right = accounts.passwords.fits(stored, password, name.casefold(), request.remote_addr or "")
    except TooManyFailures as error:
        page = shown("login.html", 429, most=MAX_NAME, problem="too_many", name=name)
        page.headers["Retry-After"] = str(round(error.seconds) + 1)
        return page
    if user is None or not right:
        return shown("login.html", 403, most=MAX_NAME, problem="wrong", name=name)
    return signed_in(user)


def signed_in(user: User) -> Answer:
    """A session of its own for this browser, whatever it held before; then the page."""
    accounts = accounts_of(current_app)
    before, answer = visitor(accounts), redirect("/", 303)
    token = accounts.sessions.begin(user, request.headers.get("User-Agent", ""))
    if before is not None:
        accounts.sessions.end(before.session.user.id, before.session.id)
    answer.headers["Set-Cookie"] = accounts.cookie.set(token)
    return answer


@routes.post("/logout")
def logout() -> Answer:
    """End this browser's session."""
    accounts = accounts_of(current_app)
    found = needed(accounts)
    accounts.sessions.end(found.session.user.id, found.session.id)
    answer = redirect("/web/login", 303)
    answer.headers["Set-Cookie"] = accounts.cookie.set("")
    return answer


@routes.get("/account")
def account() -> Response:
    """One's own keys and sessions."""
    return _account(needed(accounts_of(current_app)))


@routes.post("/account/keys")
def make_key() -> Response:
    """Make a key; it is shown on this page alone, once."""
    accounts = accounts_of(current_app)
    found = needed(accounts)
    name, scopes = request.form.get("name", "").strip(), sorted(set(request.form.getlist("scope")))
    days = request.form.get("days", "90")
    wrong = not name or len(name) > MAX_NAME or not name.isprintable() or not set(scopes) <= set(SCOPES)
    if wrong or days not in {str(number) for number in (0, *DAYS)}:
        return _account(found, 400, problem="bad_key")
    now = time.time()
    valid = (key for key in accounts.store.keys_of(found.session.user.id) if key.revoked is None)
    if sum(key.expires is None or key.expires > now for key in valid) >= MAX_KEYS:
        return _account(found, 400, problem="many_keys")
    expires = now + int(days) * 86_400 if days != "0" else None
    text, _key = accounts.store.create(name, scopes, expires, user=found.session.user.id)
    return _account(found, made=text)


@routes.post("/account/keys/<identity>/revoke")
def revoke_key(identity: str) -> Answer:
    """End one of one's own keys."""
    accounts = accounts_of(current_app)
    found = needed(accounts)
    try:
        accounts.store.revoke(identity, found.session.user.id)
    except NoSuchKey:
        return _account(found, 404, problem="no_key")
    return redirect("/web/account", 303)


@routes.post("/account/sessions/<identity>/end")
def end_session(identity: str) -> Answer:
    """End one of one's own sessions; `others`: all but this one."""
    accounts = accounts_of(current_app)
    found = needed(accounts)
    try:
        if identity == "others":
            accounts.sessions.end_others(found.session.user.id, found.session.id)
        else:
            accounts.sessions.end(found.session.user.id, identity)
    except NoSuchSession:
        return _account(found, 404, problem="no_session")
    return redirect("/web/account", 303)


@routes.post("/account/password")
def change_password() -> Answer:
    """Another password; every session ends, and this browser gets a new one."""
    accounts = accounts_of(current_app)
    found = needed(accounts)
    user, form = found.session.user, request.form
    if user.password is None:
        return _account(found, 400, problem="no_password")
    try:
        address = request.remote_addr or ""
        if not accounts.passwords.fits(user.password, form.get("old", ""), user.name.casefold(), address):
            return _account(found, 403, problem="wrong_old")
        accounts.users.set_password(user.id, accounts.passwords.hash(form.get("new", ""), user.name))
    except TooManyFailures:
        return _account(found, 429, problem="too_many")
    except WeakPassword:
        return _account(found, 400, problem="weak")
    return signed_in(user)


def _account(found: Visitor, status: int = 200, problem: str | None = None, made: str | None = None) -> Response:
    accounts, user = accounts_of(current_app), found.session.user
    values: Mapping[str, Any] = {
        "visitor": found,
        "keys": accounts.store.keys_of(user.id),
        "sessions": accounts.sessions.of(user),
        "now": time.time(),
        "scopes": SCOPES,
        "days": DAYS,
        "lengths": {"least": MIN_LENGTH, "most": MAX_LENGTH},
    }
    return shown("account.html", status, problem=problem, made=made, **values)


def new_password() -> str:
    """One that an administrator hands on: 20 characters, some 119 bits."""
    return secrets.token_urlsafe(15)
