"""What is kept of keys, requests and quotas. Every call blocks: from the event loop, in a thread alone."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, case, func, insert, or_, select, update

from gateway.accounts import keys
from gateway.accounts.changes import REVOKED, tell
from gateway.accounts.database import writing
from gateway.accounts.generations import Generation
from gateway.accounts.records import Record, Use
from gateway.accounts.tables import AUDIT, CHANGES, FILES, GENERATIONS, KEYS, SESSIONS, USED, USERS

MAX_SHOWN = 1000  # rows of what was used
LIMITS = ("requests_a_minute", "concurrent", "images_a_day", "tokens_a_day", "audio_seconds_a_day")


class NoSuchKey(Exception):
    """Error: no key has this id."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A key as it is stored: everything but the key itself. Times in seconds since 1970."""

    id: str
    hash: str
    hint: str
    name: str
    scopes: tuple[str, ...]  # none: every scope
    created: float
    expires: float | None
    revoked: float | None
    last_used: float | None
    user_id: str | None  # whose it is
    limits: Mapping[str, int]  # those of its own; 0: no bound


class Store:
    """Keys, the log of requests and quotas in one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create(
        self,
        name: str,
        scopes: Sequence[str] = (),
        expires: float | None = None,
        limits: Mapping[str, int] | None = None,
        user: str | None = None,
    ) -> tuple[str, Key]:
        """Make a key; the text that is given back here is kept nowhere."""
        text = keys.new_key()
        values: dict[str, Any] = {
            "id": f"key_{secrets.token_hex(8)}",
            "hash": keys.digest(text),
            "hint": text[: keys.HINT],
            "name": name,
            "scopes": " ".join(scopes),
            "created": time.time(),
            "expires": expires,
            "user_id": user,
            **dict(limits or {}),
        }
        with writing(self.engine) as connection:
            connection.execute(insert(KEYS), values)
            row = connection.execute(select(KEYS).where(KEYS.c.id == values["id"])).mappings().one()
        return text, _key(row)

    def find(self, digest: str, day: str) -> tuple[Key, dict[str, float]] | None:
        """The key with this digest, and what it used on a day by unit."""
        with self.engine.connect() as connection:
            row = connection.execute(select(KEYS).where(KEYS.c.hash == digest)).mappings().one_or_none()
            if row is None:
                return None
            return _key(row), _used(connection, row["id"], day)

    def used(self, key_id: str, day: str) -> dict[str, float]:
        """What a key used on a day, by unit."""
        with self.engine.connect() as connection:
            return _used(connection, key_id, day)

    def keys(self) -> list[Key]:
        """All keys, the oldest first."""
        with self.engine.connect() as connection:
            return [_key(row) for row in connection.execute(select(KEYS).order_by(KEYS.c.created)).mappings()]

    def keys_of(self, user: str) -> list[Key]:
        """The keys of one user, the oldest first."""
        mine = select(KEYS).where(KEYS.c.user_id == user).order_by(KEYS.c.created)
        with self.engine.connect() as connection:
            return [_key(row) for row in connection.execute(mine).mappings()]

    def revoke(self, key_id: str, user: str | None = None) -> Key:
        """End a key for good, and tell every process that knows it. Once more changes nothing. `user`: only his.

        Raises `NoSuchKey`.
        """
        which = KEYS.c.id == key_id if user is None else (KEYS.c.id == key_id) & (KEYS.c.user_id == user)
        with writing(self.engine) as connection:
            connection.execute(update(KEYS).where(which, KEYS.c.revoked.is_(None)).values(revoked=time.time()))
            row = connection.execute(select(KEYS).where(which)).mappings().one_or_none()
            if row is None:
                raise NoSuchKey(f"no key has the id {key_id!r}; python -m gateway keys list shows them")
            tell(connection)
            return _key(row)

    def revocations(self) -> int:
        """How often a key or a session ended: what a process has in memory is stale once this has grown."""
        with self.engine.connect() as connection:
            return connection.scalar(select(CHANGES.c.count).where(CHANGES.c.subject == REVOKED)) or 0

    def revoked(self) -> dict[str, str]:
        """Of all keys and sessions that were ended, by their digest: whose requests end with them.

        That is the key, or the user who may not sign in any more; a session that ended alone ends none.
        """
        out = or_(USERS.c.id.is_(None), USERS.c.disabled.is_not(None))
        whose = case((out, SESSIONS.c.user_id), else_=SESSIONS.c.id)
        ended = select(SESSIONS.c.hash, whose.label("id")).outerjoin(USERS, USERS.c.id == SESSIONS.c.user_id)
        with self.engine.connect() as connection:
            of_keys = connection.execute(select(KEYS.c.hash, KEYS.c.id).where(KEYS.c.revoked.is_not(None)))
            found = {row.hash: row.id for row in of_keys}
            rows = connection.execute(ended.where(SESSIONS.c.revoked.is_not(None)))
            return found | {row.hash: row.id for row in rows}

    def used_by_day(self, days: int) -> list[tuple[str, str, str, float]]:
        """Day, key or user, unit and amount of the newest days, for people who look after a gateway."""
        newest = select(USED.c.day).distinct().order_by(USED.c.day.desc()).limit(days)
        with self.engine.connect() as connection:
            shown = list(connection.scalars(newest))
            query = select(USED.c.day, USED.c.key_id, USED.c.unit, USED.c.amount).where(USED.c.day.in_(shown))
            query = query.order_by(USED.c.day.desc(), USED.c.key_id, USED.c.unit).limit(MAX_SHOWN)
            return [(row.day, row.key_id, row.unit, row.amount) for row in connection.execute(query)]

    def last_requests(self, count: int) -> list[dict[str, Any]]:
        """The newest rows of the log of requests."""
        newest = select(AUDIT).order_by(AUDIT.c.started.desc()).limit(count)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(newest).mappings()]

    def write(self, rows: Sequence[Record | Generation], uses: Mapping[Use, float], again: bool = False) -> None:
        """Keep requests and what they made, and add to quotas, all or nothing.

        `again`: an earlier try may have been kept unseen.
        """
        records = [row for row in rows if isinstance(row, Record)]
        generations = [row for row in rows if isinstance(row, Generation)]
        tables = ((AUDIT, records), (GENERATIONS, generations))
        with writing(self.engine) as connection:
            for table, some in tables if again else ():
                ids = [row.id for row in some]
                if connection.scalar(select(func.count()).select_from(table).where(table.c.id.in_(ids))):
                    return
            for table, some in tables:
                if some:
                    connection.execute(insert(table), [row.row() for row in some])
            if files := [file for row in generations for file in row.file_rows()]:
                connection.execute(insert(FILES), files)
            for key_id, at in {record.key_id: record.started for record in records}.items():
                connection.execute(update(KEYS).where(KEYS.c.id == key_id).values(last_used=at))
            for use, amount in uses.items():
                row = (USED.c.key_id == use.key_id, USED.c.day == use.day, USED.c.unit == use.unit)
                if not connection.execute(update(USED).where(*row).values(amount=USED.c.amount + amount)).rowcount:
                    connection.execute(insert(USED), {**use._asdict(), "amount": amount})


def _used(connection: Connection, key_id: str, day: str) -> dict[str, float]:
    rows = connection.execute(select(USED.c.unit, USED.c.amount).where(USED.c.key_id == key_id, USED.c.day == day))
    return {row.unit: row.amount for row in rows}


def _key(row: RowMapping) -> Key:
    plain = {field.name: row[field.name] for field in dataclasses.fields(Key) if field.name not in ("scopes", "limits")}
    limits = {name: row[name] for name in LIMITS if row[name] is not None}
    return Key(**plain, scopes=tuple(row["scopes"].split()), limits=limits)
