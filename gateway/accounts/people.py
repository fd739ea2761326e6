"""Users as they are stored. Every call blocks: from the event loop, in a thread alone."""

from __future__ import annotations

import dataclasses
import secrets
import time
import unicodedata
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.accounts.changes import tell
from gateway.accounts.database import writing
from gateway.accounts.tables import KEYS, SESSIONS, USERS

Role = Literal["admin", "user"]
ROLES: tuple[Role, ...] = ("admin", "user")
MAX_NAME = 100
MAX_USERS = 100_000


class NoSuchUser(Exception):
    """Error: no user has this name or id."""


class NameTaken(Exception):
    """Error: another user has this name, or one that reads the same."""


@dataclasses.dataclass(frozen=True)
class User:
    """A person. Times in seconds since 1970; `password` is a hash, None for one who comes by an OpenID provider."""

    id: str
    name: str
    role: Role
    password: str | None
    issuer: str | None
    subject: str | None
    created: float
    disabled: float | None

    @property
    def is_admin(self) -> bool:
        """Whether this user may see and change what belongs to others."""
        return self.role == "admin"


def folded(name: str) -> str:
    """What has to differ between two names: their letters, whatever their case and width."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def fault(name: str) -> str | None:
    """What is wrong with a name; None: nothing."""
    if not name.strip() or len(name) > MAX_NAME or len(folded(name)) > 2 * MAX_NAME or not name.isprintable():
        return f"a name has 1 to {MAX_NAME} printable characters"
    return None


class Users:
    """All users of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, name: str, role: Role, password: str | None = None, oidc: tuple[str, str] | None = None) -> User:
        """Make a user; `password` is a hash, `oidc` issuer and subject. Raises `NameTaken`, `ValueError`."""
        name = name.strip()
        if wrong := fault(name):
            raise ValueError(wrong)
        issuer, subject = oidc or (None, None)
        values: dict[str, Any] = {
            "id": f"usr_{secrets.token_hex(8)}",
            "name": name,
            "folded": folded(name),
            "role": role,
            "password": password,
            "issuer": issuer,
            "subject": subject,
            "created": time.time(),
        }
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(USERS), values)
        except IntegrityError:
            raise NameTaken(f"the name {name!r} is taken, or one that reads the same: choose another") from None
        return User(**{key: value for key, value in values.items() if key != "folded"}, disabled=None)

    def all(self) -> list[User]:
        """The oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(USERS).order_by(USERS.c.created).limit(MAX_USERS)).mappings()
            return [_user(row) for row in rows]

    def named(self, name: str) -> User | None:
        """Who has this name, in whatever case."""
        return self._one(USERS.c.folded == folded(name))

    def get(self, identity: str) -> User | None:
        """Who has this id."""
        return self._one(USERS.c.id == identity)

    def known_as(self, issuer: str, subject: str) -> User | None:
        """Who comes from this provider under this subject."""
        return self._one((USERS.c.issuer == issuer) & (USERS.c.subject == subject))

    def set_password(self, identity: str, password: str) -> None:
        """Another hash; every session of this user ends. Raises `NoSuchUser`."""
        with writing(self._engine) as connection:
            if not connection.execute(update(USERS).where(USERS.c.id == identity).values(password=password)).rowcount:
                raise _nobody(identity)
            end_sessions(connection, identity)

    def disable(self, identity: str) -> None:
        """Let this user in no more: sessions and keys end for good. Raises `NoSuchUser`."""
        with writing(self._engine) as connection:
            changed = update(USERS).where(USERS.c.id == identity).values(disabled=time.time())
            if not connection.execute(changed).rowcount:
                raise _nobody(identity)
            _end(connection, identity)

    def enable(self, identity: str) -> None:
        """Let this user sign in again; what ended stays ended. Raises `NoSuchUser`."""
        with writing(self._engine) as connection:
            if not connection.execute(update(USERS).where(USERS.c.id == identity).values(disabled=None)).rowcount:
                raise _nobody(identity)

    def delete(self, identity: str) -> None:
        """Remove the user and the sessions; keys end, and stay in the list as ended. Raises `NoSuchUser`."""
        with writing(self._engine) as connection:
            if not connection.execute(delete(USERS).where(USERS.c.id == identity)).rowcount:
                raise _nobody(identity)
            _end(connection, identity)

    def _one(self, which: ColumnElement[bool]) -> User | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(USERS).where(which)).mappings().first()
            return None if row is None else _user(row)


def end_sessions(connection: Connection, user: str, but: str | None = None) -> None:
    """End the sessions of a user, but for one by its id, and tell every process that knows them."""
    which = (SESSIONS.c.user_id == user) & SESSIONS.c.revoked.is_(None)
    if but is not None:
        which &= SESSIONS.c.id != but
    if connection.execute(update(SESSIONS).where(which).values(revoked=time.time())).rowcount:
        tell(connection)


def _end(connection: Connection, user: str) -> None:
    end_sessions(connection, user)
    open_keys = (KEYS.c.user_id == user) & KEYS.c.revoked.is_(None)
    if connection.execute(update(KEYS).where(open_keys).values(revoked=time.time())).rowcount:
        tell(connection)


def _nobody(identity: str) -> NoSuchUser:
    return NoSuchUser(f"no user has the id {identity[:40]!r}; python -m gateway users list shows them")


def _user(row: RowMapping) -> User:
    return User(**{field.name: row[field.name] for field in dataclasses.fields(User)})
