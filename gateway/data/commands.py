"""`python -m gateway data export|delete|rotate|backup|restore`: what an operator does with all that is kept."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.commands import RAW, add_command
from gateway.accounts.database import DEFAULT_DATABASE, DatabaseError, open_database, reason
from gateway.accounts.migrate import migrate
from gateway.data.account import NoSuchAccount, account_of
from gateway.data.backup import STATEMENT_SECONDS, backup
from gateway.data.deletion import erase, left
from gateway.data.export import export
from gateway.data.restore import RestoreError, restore
from gateway.data.rotation import rotate
from gateway.history.opened import results_of, ring_of
from gateway.kept import NoRoom
from gateway.settings import Settings, SettingsError, load

EXPORT = "Write everything of one account to a zip: a file of JSON lines for each table, and the files made for it."
DELETE = "Delete everything of one account: files, rows, sessions; its keys end. Without --yes: show what there is."
ROTATE = (
    "Wrap every data key under the current key of encryption_keys, the first of its file. It may be interrupted: "
    "begun again it goes on. Then the older keys are needed no more."
)
BACKUP = "Write database and results to a new folder, while a gateway runs. The keys of encryption are not in it."
RESTORE = "Put a backup back into an empty place, once every digest is as it was written. Stop the gateway before."
EXAMPLES = {
    "export": "--key key_0123456789abcdef --to alice.zip",
    "delete": "--key key_0123456789abcdef --yes",
    "rotate": "--settings gateway.toml",
    "backup": "/var/backups/atelier-2026-11-28",
    "restore": "/var/backups/atelier-2026-11-28 --settings gateway.toml",
}


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `data` and its commands to those of `python -m gateway`."""
    parser = commands.add_parser(
        "data",
        help="export, delete, rotate keys, back up and restore what is kept",
        description=__doc__,
        epilog=f"example: python -m gateway data backup {EXAMPLES['backup']}",
        formatter_class=RAW,
    )
    below = parser.add_subparsers(dest="data_command", required=True, metavar=f"{{{','.join(EXAMPLES)}}}")
    made = {
        name: add_command(below, f"data {name}", what, EXAMPLES[name])
        for name, what in zip(EXAMPLES, (EXPORT, DELETE, ROTATE, BACKUP, RESTORE), strict=True)
    }
    for name in ("export", "delete"):
        whose = made[name].add_mutually_exclusive_group(required=True)
        whose.add_argument("--user", metavar="ID", help="the account of a user, with all keys of his")
        whose.add_argument("--key", metavar="ID", help="that of a key which is nobody's; `keys list` shows its id")
    made["export"].add_argument(
        "--to", required=True, type=Path, metavar="FILE", help="the zip, which is not there yet"
    )
    made["delete"].add_argument("--yes", action="store_true", help="delete it: nothing brings it back but a backup")
    made["backup"].add_argument("folder", type=Path, help="which is not there yet")
    made["restore"].add_argument("folder", type=Path, help="of a backup")


def run(options: argparse.Namespace) -> int:
    """Run one of the commands; a foreseeable failure is one message and exit code 1."""
    try:
        settings = load(options.settings, os.environ)
        if options.database is not None:
            settings = settings.model_copy(update={"database": options.database})
        return COMMANDS[options.data_command](options, settings)
    except (DatabaseError, NoRoom, NoSuchAccount, OSError, RestoreError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
    except SQLAlchemyError as error:
        print(f"error: the database cannot be used: {reason(error)}", file=sys.stderr)
    return 1


def _export(options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as engine:
        account = account_of(engine, user=options.user, key=options.key)
        made = export(engine, results_of(settings, beside=True), ring_of(settings), account, options.to, _said)
    print(f"{options.to}: {made.rows} rows and {made.files} files of {account.id}")
    for trouble in made.troubles:
        print(f"not in it: {trouble}", file=sys.stderr)
    return 1 if made.troubles else 0


def _delete(options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as engine:
        account = account_of(engine, user=options.user, key=options.key)
        if options.yes:
            erase(engine, results_of(settings, beside=True), account, _said)
        still = ", ".join(f"{count} of {name}" for name, count in left(engine, account).items())
    if not options.yes:
        print(f"error: nothing was deleted of {account.id} ({still or 'an ended key'}); add --yes", file=sys.stderr)
    elif still:
        print(f"error: {still} came meanwhile; run this again", file=sys.stderr)
    else:
        print(f"nothing is kept of {account.id} but in backups; requests under way may add rows: run this again later")
    return 0 if options.yes and not still else 1


def _rotate(_options: argparse.Namespace, settings: Settings) -> int:
    ring = ring_of(settings)
    if ring is None:
        raise SettingsError("setting encryption_keys is not set, so nothing is sealed; it names the file of keys")
    with _opened(settings) as engine:
        done = rotate(engine, ring, _said)
    print(f"{done.rows} rows were wrapped under key {ring.current}")
    for trouble, count in done.troubles.items():
        print(f"error: {count} rows were not: {trouble}", file=sys.stderr)
    if not done.troubles:
        print(f"every row is under key {ring.current} now: the other keys of its file are needed by backups alone")
    return 1 if done.troubles else 0


def _backup(options: argparse.Namespace, settings: Settings) -> int:
    made = backup(_url(settings), results_of(settings, beside=True), options.folder, _said)
    print(f"{options.folder}: {made.files} files, {made.bytes} bytes")
    return 0


def _restore(options: argparse.Namespace, settings: Settings) -> int:
    restore(_url(settings), results_of(settings), options.folder, _said)
    print(f"{options.folder} was restored")
    return 0


@contextmanager
def _opened(settings: Settings) -> Iterator[Engine]:
    """The database, with the tables of this version; one that is not there is not made."""
    url = _url(settings)
    engine = open_database(url, wait=STATEMENT_SECONDS)
    try:
        engine.connect().close()
        migrate(url)
        yield engine
    finally:
        engine.dispose()


def _url(settings: Settings) -> str:
    return settings.database or DEFAULT_DATABASE


def _said(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


COMMANDS: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
    "export": _export,
    "delete": _delete,
    "rotate": _rotate,
    "backup": _backup,
    "restore": _restore,
}
