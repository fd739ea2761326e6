"""`python -m gateway users create|list|...`: who may sign in. It needs no running gateway."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.database import DEFAULT_DATABASE, DatabaseError, open_database, reason
from gateway.accounts.migrate import migrate
from gateway.accounts.passwords import Passwords, WeakPassword
from gateway.accounts.people import ROLES, NameTaken, NoSuchUser, User, Users, fault
from gateway.settings import SettingsError, load

RAW = argparse.RawDescriptionHelpFormatter  # an example stays on its line
CREATE = "Make a user. The password is asked for, or read as the first line of standard input: never an argument."
LIST = "Show every user."
DISABLE = "Let a user in no more: sessions and keys end for good, within about a second."
ENABLE = "Let a disabled user sign in again; what ended stays ended."
PASSWORD = "Set another password, asked for or read from standard input; every session of the user ends."
DELETE = "Remove a user: sessions and keys end. The history stays until `data delete`, or its time is over."


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `users` and its commands to those of `python -m gateway`."""
    example = "example: python -m gateway users create alice --role admin"
    parser = commands.add_parser(
        "users", help="make, show and end users who sign in", description=__doc__, epilog=example, formatter_class=RAW
    )
    names = "{create,list,disable,enable,password,delete}"
    below = parser.add_subparsers(dest="users_command", required=True, metavar=names)
    create = _add(below, "create", CREATE, "alice --role admin")
    create.add_argument("--role", choices=ROLES, default="user", help="admin: looks after others; default: user")
    create.add_argument("--issuer", metavar="URL", help="one who signs in by this OpenID provider, without a password")
    create.add_argument("--subject", help="what that provider calls the user: its claim `sub`")
    _add(below, "list", LIST, "").add_argument("--json", action="store_true", help="as JSON")
    for name, what in (("disable", DISABLE), ("enable", ENABLE), ("password", PASSWORD), ("delete", DELETE)):
        _add(below, name, what, "alice")


def run(options: argparse.Namespace) -> int:
    """Run one of the commands; a foreseeable failure is one message and exit code 1."""
    try:
        url = options.database or load(options.settings, os.environ).database or DEFAULT_DATABASE
        migrate(url)
        _run(Users(open_database(url)), options)
    except (DatabaseError, NameTaken, NoSuchUser, SettingsError, WeakPassword, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"error: the database cannot be used: {reason(error)}", file=sys.stderr)
        return 1
    return 0


def find(users: Users, name: str) -> User:
    """The user of a name. Raises `NoSuchUser`."""
    if (found := users.named(name)) is None:
        raise NoSuchUser(f"no user has the name {name[:100]!r}; python -m gateway users list shows them")
    return found


def _run(users: Users, options: argparse.Namespace) -> None:
    command = options.users_command
    if command == "list":
        _list(users.all(), options.json)
        return
    if command == "create":
        if wrong := fault(options.name):
            raise ValueError(f"{wrong}, found {options.name[:100]!r}")
        if (options.issuer is None) != (options.subject is None):
            raise ValueError("--issuer and --subject go together: give both, or neither and a password")
        if options.issuer is not None:
            made = users.create(options.name, options.role, oidc=(options.issuer, options.subject))
        else:
            password = Passwords().hash(_password(options.name), options.name)
            made = users.create(options.name, options.role, password)
        print(f"{made.id} ({made.name}) was made, role {made.role}")
        return
    user = find(users, options.name)
    if command == "password":
        users.set_password(user.id, Passwords().hash(_password(user.name), user.name))
        print(f"{user.id} ({user.name}) has another password; every session ended")
    else:
        {"disable": users.disable, "enable": users.enable, "delete": users.delete}[command](user.id)
        print(f"{user.id} ({user.name}) was {command}d")


def _add(
    below: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, example: str
) -> argparse.ArgumentParser:
    shown = f"example: python -m gateway users {name} {example}".rstrip()
    parser = below.add_parser(name, help=what, description=what, epilog=shown, formatter_class=RAW)
    if name != "list":
        parser.add_argument("name", help="what the user signs in with")
    parser.add_argument(
        "--database", metavar="URL", help="sqlite:///FILE or mysql+pymysql://...; default: the settings"
    )
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings of the gateway (TOML)")
    return parser


def _password(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass(f"new password of {name}: ")
    if getpass.getpass("once more: ") != first:
        raise ValueError("the two passwords differ: nothing was changed")
    return first


def _list(users: list[User], as_json: bool) -> None:
    if as_json:
        shown = ("id", "name", "role", "created", "disabled", "issuer")
        print(json.dumps([{name: getattr(user, name) for name in shown} for user in users], indent=2))
        return
    if not users:
        print("there are no users; python -m gateway users create NAME makes one")
        return
    print(f"{'id':20} {'role':5} {'state':8} {'made':10} name")
    for user in users:
        made = datetime.fromtimestamp(user.created, UTC).date().isoformat()
        print(f"{user.id:20} {user.role:5} {'disabled' if user.disabled else 'open':8} {made} {user.name}")
