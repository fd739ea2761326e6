"""`python -m gateway keys create|list|revoke|migrate`: what an operator does with keys. It needs no running gateway."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.caller import SCOPES
from gateway.accounts.database import DEFAULT_DATABASE, DatabaseError, open_database, reason
from gateway.accounts.migrate import HEAD, migrate
from gateway.accounts.people import NoSuchUser, Users
from gateway.accounts.store import LIMITS, Key, NoSuchKey, Store
from gateway.accounts.users_commands import find
from gateway.settings import SettingsError, load

MAX_NAME = 100
RAW = argparse.RawDescriptionHelpFormatter  # an example stays on its line
DAY = 86_400.0
CREATE = "Make a key. It alone is written to standard output, once; only its SHA-256 is kept."
LIST = "Show every key, without the keys themselves."
REVOKE = "End a key for good: a running gateway refuses it within about a second."
MIGRATE = (
    "Bring the database to the tables of this version, or of another one; `serve` and `create` do it by themselves."
)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `keys` and its commands to those of `python -m gateway`."""
    example = "example: python -m gateway keys create --name alice --scope image:generate --expires 90d"
    parser = commands.add_parser(
        "keys", help="make, show and revoke API keys", description=__doc__, epilog=example, formatter_class=RAW
    )
    below = parser.add_subparsers(dest="keys_command", required=True, metavar="{create,list,revoke,migrate}")
    create = _add(below, "create", CREATE, "--name alice --scope image:generate --images-a-day 500 --expires 90d")
    create.add_argument("--name", required=True, type=_name, help="whose key it is, or what for")
    create.add_argument(
        "--scope", action="append", default=[], choices=SCOPES, help="what it may do; may be repeated; default: all"
    )
    create.add_argument("--expires", type=_expiry, metavar="DAYS|DATE", help="90d, or 2027-06-30 (UTC); default: never")
    create.add_argument("--user", metavar="NAME", help="the user it belongs to; default: none")
    for limit in LIMITS:
        option = f"--{limit.replace('_', '-')}"
        create.add_argument(option, type=_count, metavar="N", help="0: no bound; default: what the settings say")
    _add(below, "list", LIST, "").add_argument("--json", action="store_true", help="as JSON")
    _add(below, "revoke", REVOKE, "key_0123456789abcdef").add_argument("id", help="the id that `keys list` shows")
    _add(below, "migrate", MIGRATE, "--to 0002").add_argument(
        "--to", default=HEAD, metavar="REVISION", help=f"default: {HEAD}; what a later one added goes when it goes down"
    )


def run(options: argparse.Namespace) -> int:
    """Run one of the commands; a foreseeable failure is one message and exit code 1."""
    try:
        url = options.database or load(options.settings, os.environ).database or DEFAULT_DATABASE
        if options.keys_command == "migrate":
            done = migrate(url, options.to)
            print(f"ran {', '.join(done)}" if done else f"it is at {options.to} already")
        elif options.keys_command == "create":
            migrate(url)
            _create(_store(url), options)
        elif options.keys_command == "list":
            _list(_store(url).keys(), options.json)
        else:
            key = _store(url).revoke(options.id)
            print(f"{key.id} ({key.name}) was revoked {_day(key.revoked)}")
    except (DatabaseError, NoSuchKey, NoSuchUser, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        missing = "unable to open" in (why := reason(error)) or "no such table" in why
        hint = "; `python -m gateway keys create` makes one, --database URL names another" if missing else ""
        print(f"error: the database cannot be used: {why}{hint}", file=sys.stderr)
        return 1
    return 0


def _add(
    below: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, example: str
) -> argparse.ArgumentParser:
    shown = f"example: python -m gateway keys {name} {example}".rstrip()
    parser = below.add_parser(name, help=what, description=what, epilog=shown, formatter_class=RAW)
    parser.add_argument(
        "--database", metavar="URL", help="sqlite:///FILE or mysql+pymysql://...; default: the settings"
    )
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings of the gateway (TOML)")
    return parser


def _store(url: str) -> Store:
    return Store(open_database(url))


def _create(store: Store, options: argparse.Namespace) -> None:
    limits = {name: value for name in LIMITS if (value := getattr(options, name)) is not None}
    user = None if options.user is None else find(Users(store.engine), options.user).id
    text, key = store.create(options.name, sorted(set(options.scope)), options.expires, limits, user)
    print(text)
    print(
        f"{key.id} for {key.name}: {' '.join(key.scopes) or 'every scope'}, expires {_day(key.expires) or 'never'}. "
        "The line above is the key. It is not shown again.",
        file=sys.stderr,
    )


def _list(keys: list[Key], as_json: bool) -> None:
    if as_json:
        shown = ("id", "hint", "name", "scopes", "created", "expires", "revoked", "last_used", "limits")
        print(json.dumps([{name: getattr(key, name) for name in shown} for key in keys], indent=2))
        return
    if not keys:
        print("there are no keys; python -m gateway keys create --name NAME makes one")
        return
    print(f"{'id':20} {'begins':11} {'state':8} {'created':10} {'expires':10} {'last used':10} name, scopes, limits")
    for key in keys:
        state = "revoked" if key.revoked else "expired" if key.expires and key.expires <= time.time() else "valid"
        days = " ".join(f"{_day(at) or '-':10}" for at in (key.created, key.expires, key.last_used))
        more = [" ".join(key.scopes), " ".join(f"{name}={value}" for name, value in key.limits.items())]
        print(f"{key.id:20} {key.hint:11} {state:8} {days} {', '.join([key.name, *filter(None, more)])}")


def _name(text: str) -> str:
    if not text.strip() or len(text) > MAX_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f"wanted 1 to {MAX_NAME} printable characters, found {text[:MAX_NAME]!r}")
    return text.strip()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 2**31 - 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 0 to {2**31 - 1}, found {text[:30]!r}")
    return int(text)


def _expiry(text: str) -> float:
    """Days from now ("90d"), or the end of a day of UTC ("2027-06-30"), in seconds since 1970."""
    if found := re.fullmatch(r"([1-9][0-9]{0,4})d", text):
        return time.time() + int(found[1]) * DAY
    try:
        end = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() + DAY
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"wanted days like 90d or a date like 2027-06-30, found {text[:30]!r}"
        ) from None
    if end <= time.time():
        raise argparse.ArgumentTypeError(f"{text} is over; wanted a day that is not")
    return end


def _day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).date().isoformat()
