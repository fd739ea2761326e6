"""From a request's headers to its caller: keys and sessions, looked up in a thread and remembered for a short time."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Self, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers

from gateway.accounts import keys, sessions
from gateway.accounts.audit import Audit
from gateway.accounts.caller import ANYBODY, Caller
from gateway.accounts.cookie import Cookie
from gateway.accounts.database import DatabaseError, open_database, reason, told
from gateway.accounts.migrate import migrate
from gateway.accounts.passwords import Passwords
from gateway.accounts.people import Users
from gateway.accounts.sessions import Session, Sessions
from gateway.accounts.standing import Standing
from gateway.accounts.store import Key, Store
from gateway.errors import ApiError, overloaded
from gateway.limits import Limits
from gateway.settings import LimitSettings

T = TypeVar("T")
FRESH_SECONDS = 30.0  # a key is looked up again after this, beside its next request
GRACE_SECONDS = 900.0  # until then that request does not wait for it, also while the database is gone
POLL_SECONDS = 1.0  # how often a revocation by another process is looked for
REMEMBERED = 4096  # keys, wrong ones included; the one that was not asked for longest is forgotten first
LOOK_UPS = 64  # at once; more are told to come again
THREADS = 4
log = structlog.get_logger("gateway.accounts")
ONCE_MORE = "send it as `Authorization: Bearer atl_...`; `python -m gateway keys create --name NAME` makes one"


@dataclasses.dataclass
class _Seen:
    key: Key | Session | None  # None: nobody has this key
    at: float  # by the monotonic clock
    caller: Caller | None = None


class Accounts:
    """The callers of one gateway. Made by `open`; everything else is for its event loop."""

    def __init__(self, store: Store, defaults: LimitSettings, keyless: bool, cookie: Cookie) -> None:
        self._store = store
        self.cookie, self.users, self.passwords = cookie, Users(store.engine), Passwords()
        self.sessions = Sessions(store.engine, cookie.days, cookie.idle_days)
        self._defaults = defaults
        self._anybody = dataclasses.replace(ANYBODY, limits=defaults) if keyless else None
        self._threads = ThreadPoolExecutor(THREADS, "accounts")
        self._watching = ThreadPoolExecutor(1, "accounts")  # look-ups that hang do not keep it from its work
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._asked: dict[str, asyncio.Task[_Seen]] = {}
        self._revocations = 0
        self._forgotten = 0  # how often keys were forgotten: what a look-up found that began before is not kept
        self._watcher: asyncio.Task[None] | None = None
        self.gone: str | None = None  # why the database does not answer
        self.standing = Standing()
        self.audit = Audit(store)
        self.limits = Limits(self.audit)

    @classmethod
    async def open(
        cls, url: str, defaults: LimitSettings, *, keyless: bool = False, cookie: Cookie | None = None
    ) -> Self:
        """Bring the database up to date and begin. Raises `DatabaseError` when it cannot be used."""
        await asyncio.to_thread(migrate, url)
        accounts = cls(Store(await asyncio.to_thread(open_database, url)), defaults, keyless, cookie or Cookie())
        accounts._revocations = await accounts._in_thread(accounts._store.revocations)
        day = accounts.limits.day()
        accounts.limits.load(ANYBODY.id, day, await accounts._in_thread(lambda: accounts._store.used(ANYBODY.id, day)))
        accounts._watcher = asyncio.create_task(accounts._watch())
        return accounts

    async def close(self, seconds: float = 3.0) -> int:
        """Write what is left of the log, for at most so long; how many rows are lost."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        lost = await asyncio.to_thread(self.audit.close, seconds)
        for threads in (self._threads, self._watching):
            threads.shutdown(wait=False, cancel_futures=True)
        self._store.engine.dispose()
        return lost

    @property
    def trouble(self) -> str | None:
        """Why the database cannot be read or written at present; None: it can."""
        return self.gone or self.audit.trouble

    @property
    def store(self) -> Store:
        """What the database keeps; every call of it blocks."""
        return self._store

    async def caller(self, headers: Headers, changes: bool = False) -> Caller:
        """Whose request this is: by its key, or by the cookie of a session where it brings no key.

        `changes`: it may change something, so by a cookie it has to come from a page of ours (403 otherwise).
        Raises a 401, or a 503 when the database is gone and the key was not seen lately.
        """
        if self._anybody is not None:
            return self._anybody
        token = None if "authorization" in headers else self.cookie.token(headers)
        if token is None:
            return _checked(await self._known(keys.digest(_bearer(headers)), session=False))
        if changes and not sessions.is_ours(token, headers):
            raise ApiError(
                403,
                f"this comes by a session, but not from a page of ours: send the header {sessions.CSRF} with what "
                "GET /web/session tells, or an API key",
                code="csrf",
            )
        seen = await self._known(sessions.digest(token), session=True)
        if not isinstance(seen.key, Session) or seen.key.over(self.cookie.idle_days) or seen.caller is None:
            raise _refused("this session is over: sign in again", "session_over")
        return seen.caller

    async def _known(self, digest: str, session: bool) -> _Seen:
        seen = self._seen.get(digest)
        age = math.inf if seen is None else time.monotonic() - seen.at
        if seen is None or age > (FRESH_SECONDS if seen.key is None else GRACE_SECONDS):
            seen = await self._ask(digest, session)
        elif age > FRESH_SECONDS and self.gone is None and len(self._asked) < LOOK_UPS:
            self._begin(digest, session)  # nobody waits for it: what is revoked the watcher tells
        if digest in self._seen:
            self._seen.move_to_end(digest)
        return seen

    async def _ask(self, digest: str, session: bool) -> _Seen:
        """Look it up, once for however many requests wait for it."""
        if digest not in self._asked and len(self._asked) >= LOOK_UPS:
            raise overloaded("too many keys are being looked up; send the request again")
        try:
            return await asyncio.shield(self._begin(digest, session))
        except (SQLAlchemyError, DatabaseError):
            raise ApiError(
                503,
                "the database of keys does not answer, and this key was not looked up in the last minutes: "
                "send the request again",
                code="database_unavailable",
                retry_after=2.0,
            ) from None

    def _begin(self, digest: str, session: bool) -> asyncio.Task[_Seen]:
        task = self._asked.get(digest)
        if task is None:
            task = self._asked[digest] = asyncio.create_task(self._look_up(digest, session))
            task.add_done_callback(lambda done: self._asked_for(digest, done))
        return task

    def _asked_for(self, digest: str, done: asyncio.Task[_Seen]) -> None:
        self._asked.pop(digest, None)
        if not done.cancelled() and isinstance(error := done.exception(), SQLAlchemyError):
            self._lost(error)

    async def _look_up(self, digest: str, session: bool) -> _Seen:
        began, day, forgotten = time.monotonic(), self.limits.day(), self._forgotten
        found = await self._in_thread(lambda: self._find(digest, day, session))
        seen = _Seen(None, began)
        if found is not None and hmac.compare_digest(found[0].hash, digest):
            key, used = found
            caller = self._session_caller(key) if isinstance(key, Session) else self._key_caller(key)
            self.limits.load(caller.id, day, used)
            seen = _Seen(key, began, caller)
        if forgotten == self._forgotten:
            self._seen[digest] = seen
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return seen

    def _session_caller(self, session: Session) -> Caller:
        user = session.user  # quotas are the user's, whichever browser asks
        return Caller(user.id, user.name, limits=self._defaults, owner=user.id)

    def _key_caller(self, key: Key) -> Caller:
        own = self._defaults.model_copy(update=dict(key.limits))
        return Caller(key.id, key.name, frozenset(key.scopes), own, key.user_id or key.id, key.expires)

    def _find(self, digest: str, day: str, session: bool) -> tuple[Key | Session, dict[str, float]] | None:
        """In a thread; those that waited for one do not wait for a database that is gone as well."""
        if self.gone is not None:
            raise DatabaseError(self.gone)
        if not session:
            return self._store.find(digest, day)
        found = self.sessions.find(digest)
        return None if found is None else (found, self._store.used(found.user.id, day))

    async def _watch(self) -> None:
        """Notice revocations by other processes, and a database that is gone or back."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                count = await loop.run_in_executor(self._watching, self._store.revocations)
                new = count != self._revocations
                revoked = await loop.run_in_executor(self._watching, self._store.revoked) if new else {}
            except Exception as error:  # a watcher that ended would let revoked keys go on
                self._lost(error)
                continue
            if self.gone is not None:
                log.warning("the database answers again")
            self.gone = None
            if new:
                self._revocations = count
                self._forgotten += 1
                # A session that ended may have no row any more, so all of them are looked up again.
                known = [digest for digest, seen in self._seen.items() if isinstance(seen.key, Session)]
                for digest in (*revoked, *known):
                    self._seen.pop(digest, None)
                self.standing.revoke(revoked.values())

    def _lost(self, error: Exception) -> None:
        if self.gone is None:
            log.error("the database does not answer", reason=reason(error))
        self.gone = told(error)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _bearer(headers: Headers) -> str:
    """The key that a request carries, if it may be one."""
    given = headers.getlist("authorization")
    if not given:
        raise _refused(f"this needs an API key: {ONCE_MORE}", "missing_api_key")
    if len(given) > 1:
        raise _refused(f"there are {len(given)} Authorization headers: send one", "invalid_api_key")
    scheme, _, key = given[0].strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _refused(f"the Authorization header holds no bearer key: {ONCE_MORE}", "invalid_api_key")
    key = key.strip()
    if wrong := keys.fault(key):
        raise _refused(f"this is no API key of ours: {wrong}; copy it whole, as it was shown once", "invalid_api_key")
    return key


def _checked(seen: _Seen) -> Caller:
    key = seen.key
    if not isinstance(key, Key) or seen.caller is None:
        raise _refused(
            "nobody has this API key: `python -m gateway keys list` shows those there are", "invalid_api_key"
        )
    if key.revoked is not None:
        raise _refused(f"API key {key.id} was revoked at {_time(key.revoked)}: ask for another", "revoked_api_key")
    if key.expires is not None and key.expires <= time.time():
        raise _refused(f"API key {key.id} expired at {_time(key.expires)}: ask for another", "expired_api_key")
    return seen.caller


def _refused(message: str, code: str) -> ApiError:
    return ApiError(401, message, code=code, headers={"www-authenticate": "Bearer"})


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
