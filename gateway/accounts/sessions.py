"""Sessions of browsers: a random token in a cookie, its SHA-256 in a row. Every call of `Sessions` blocks.

Whoever changes something by a cookie also sends a word that only our own pages know (CSRF): it is made of the token,
which no other page can read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import LABEL_STYLE_TABLENAME_PLUS_COL, Engine, RowMapping, delete, insert, select, update

from gateway.accounts.changes import tell
from gateway.accounts.database import writing
from gateway.accounts.people import User, end_sessions
from gateway.accounts.tables import SESSIONS, USERS

DAY = 86_400.0
TOKEN = 32  # bytes, random
MAX_AGENT = 200  # characters of what a browser calls itself
MAX_SESSIONS = 20  # of one user; one more ends the one that was used longest ago
SEEN_SECONDS = 300.0  # how much older the time of its last use may be than it says
CSRF = "x-csrf-token"
LABELS = LABEL_STYLE_TABLENAME_PLUS_COL  # both tables have an id


class NoSuchSession(Exception):
    """Error: this user has no session of this id."""


@dataclasses.dataclass(frozen=True)
class Session:
    """One browser that signed in. Times in seconds since 1970."""

    id: str
    hash: str
    agent: str
    created: float
    seen: float
    expires: float
    revoked: float | None
    user: User

    def over(self, idle_days: float) -> bool:
        """Whether it is ended, or its time is up."""
        now = time.time()
        ended = self.revoked is not None or self.user.disabled is not None
        return ended or now >= self.expires or now - self.seen > idle_days * DAY


def new_token() -> str:
    """What a cookie holds."""
    return secrets.token_urlsafe(TOKEN)


def digest(token: str) -> str:
    """What is stored of it. No key has the same: those are hashed without the word before it."""
    return hashlib.sha256(f"session {token}".encode()).hexdigest()


def csrf_of(token: str) -> str:
    """The word that our pages send back with whatever changes something."""
    return hashlib.sha256(f"csrf {token}".encode()).hexdigest()


def is_ours(token: str, headers: Mapping[str, str], word: str | None = None) -> bool:
    """Whether a request that changes something comes from a page of ours; `word`: as a form has sent it."""
    site = headers.get("sec-fetch-site", "same-origin")  # browsers too old to say it still know no word
    given = headers.get(CSRF, "") if word is None else word
    return site == "same-origin" and hmac.compare_digest(given.encode(), csrf_of(token).encode())


class Sessions:
    """All sessions of one database."""

    def __init__(self, engine: Engine, days: float, idle_days: float) -> None:
        self._engine, self._days, self.idle_days = engine, days, idle_days

    def begin(self, user: User, agent: str) -> str:
        """Make one; the token that is given back is kept nowhere. What was over is swept, and the oldest of many."""
        token, now = new_token(), time.time()
        values: dict[str, Any] = {
            "id": f"ses_{secrets.token_hex(8)}",
            "hash": digest(token),
            "user_id": user.id,
            "agent": "".join(letter for letter in agent if letter.isprintable())[:MAX_AGENT],
            "created": now,
            "seen": now,
            "expires": now + self._days * DAY,
        }
        old = SESSIONS.c.user_id == user.id
        with writing(self._engine) as connection:
            over = (SESSIONS.c.expires <= now) | SESSIONS.c.revoked.is_not(None)
            connection.execute(delete(SESSIONS).where(old & over & (SESSIONS.c.created < now - DAY)))
            used = select(SESSIONS.c.id).where(old & SESSIONS.c.revoked.is_(None)).order_by(SESSIONS.c.seen.desc())
            if spare := list(connection.scalars(used.offset(MAX_SESSIONS - 1).limit(MAX_SESSIONS))):
                connection.execute(update(SESSIONS).where(SESSIONS.c.id.in_(spare)).values(revoked=now))
                tell(connection)
            connection.execute(insert(SESSIONS), values)
        return token

    def find(self, hashed: str) -> Session | None:
        """The session of a digest, whatever became of it; its last use is noted now and then."""
        found = select(SESSIONS, USERS).join(USERS, USERS.c.id == SESSIONS.c.user_id)
        with self._engine.connect() as connection:
            query = found.where(SESSIONS.c.hash == hashed).set_label_style(LABELS)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        session, now = _session(row), time.time()
        if now - session.seen > SEEN_SECONDS and not session.over(self.idle_days):
            with writing(self._engine) as connection:
                connection.execute(update(SESSIONS).where(SESSIONS.c.id == session.id).values(seen=now))
            session = dataclasses.replace(session, seen=now)
        return session

    def of(self, user: User) -> list[Session]:
        """Those that are open, the one used last first."""
        query = select(SESSIONS, USERS).join(USERS, USERS.c.id == SESSIONS.c.user_id)
        query = query.where(SESSIONS.c.user_id == user.id).order_by(SESSIONS.c.seen.desc()).set_label_style(LABELS)
        with self._engine.connect() as connection:
            found = [_session(row) for row in connection.execute(query).mappings()]
        return [session for session in found if not session.over(self.idle_days)]

    def end(self, user: str, session: str) -> None:
        """End one of a user's. Once more changes nothing. Raises `NoSuchSession`."""
        which = (SESSIONS.c.id == session) & (SESSIONS.c.user_id == user)
        with writing(self._engine) as connection:
            if connection.scalar(select(SESSIONS.c.id).where(which)) is None:
                raise NoSuchSession("you have no such session: it is over, or never was")
            ended = update(SESSIONS).where(which, SESSIONS.c.revoked.is_(None)).values(revoked=time.time())
            if connection.execute(ended).rowcount:
                tell(connection)

    def end_others(self, user: str, but: str) -> None:
        """End all of a user's sessions but one."""
        with writing(self._engine) as connection:
            end_sessions(connection, user, but)


def _session(row: RowMapping) -> Session:
    user = User(**{field.name: row[f"users_{field.name}"] for field in dataclasses.fields(User)})
    names = [field.name for field in dataclasses.fields(Session) if field.name != "user"]
    return Session(**{name: row[f"sessions_{name}"] for name in names}, user=user)
