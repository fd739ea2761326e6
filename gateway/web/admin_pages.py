"""Looking after a gateway: its users, keys, what was used, and the last requests. For administrators alone."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, redirect, request
from werkzeug.wrappers import Response as Answer

from gateway.accounts.people import MAX_NAME, ROLES, NameTaken, NoSuchUser
from gateway.accounts.store import NoSuchKey
from gateway.web.account_pages import new_password, shown
from gateway.web.visitor import Visitor, accounts_of, needed

DAYS, LINES = 7, 50  # of what was used; of the log of requests
SHOWN = 500  # users, and keys, the newest; the commands list all
routes = Blueprint("admin", __name__, url_prefix="/web/admin")


@routes.get("")
def admin() -> Response:
    """Everything on one page."""
    return _admin(needed(accounts_of(current_app), admin=True))


@routes.post("/users")
def make_user() -> Response:
    """A user with a password that is shown once, to hand on."""
    accounts = accounts_of(current_app)
    found = needed(accounts, admin=True)
    name, role = request.form.get("name", ""), request.form.get("role", "user")
    if role not in ROLES:
        return _admin(found, 400, problem="bad_user")
    password = new_password()
    try:
        accounts.users.create(name, role, accounts.passwords.hash(password, name))
    except NameTaken:
        return _admin(found, 409, problem="name_taken")
    except ValueError:
        return _admin(found, 400, problem="bad_user")
    return _admin(found, made=password, made_for=name)


@routes.post("/users/<identity>/<what>")
def change_user(identity: str, what: str) -> Answer:
    """Disable, enable or delete a user; nobody does so to himself."""
    accounts = accounts_of(current_app)
    found = needed(accounts, admin=True)
    users = accounts.users
    does = {"disable": users.disable, "enable": users.enable, "delete": users.delete}.get(what)
    if does is None or identity == found.session.user.id:
        return _admin(found, 400, problem="not_yourself")
    try:
        does(identity)
    except NoSuchUser:
        return _admin(found, 404, problem="no_user")
    return redirect("/web/admin", 303)


@routes.post("/keys/<identity>/revoke")
def revoke_key(identity: str) -> Answer:
    """End anybody's key."""
    accounts = accounts_of(current_app)
    found = needed(accounts, admin=True)
    try:
        accounts.store.revoke(identity)
    except NoSuchKey:
        return _admin(found, 404, problem="no_key")
    return redirect("/web/admin", 303)


def _admin(
    found: Visitor, status: int = 200, problem: str | None = None, made: str | None = None, made_for: str = ""
) -> Response:
    accounts = accounts_of(current_app)
    people = accounts.users.all()
    return shown(
        "admin.html",
        status,
        visitor=found,
        problem=problem,
        made=made,
        made_for=made_for,
        people=people[-SHOWN:],
        names={user.id: user.name for user in people},
        keys=accounts.store.keys()[-SHOWN:],
        shown=SHOWN,
        used=accounts.store.used_by_day(DAYS),
        requests=accounts.store.last_requests(LINES),
        most=MAX_NAME,
    )
