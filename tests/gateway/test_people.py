"""Users and sessions as they are stored, and passwords."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import delete
from starlette.datastructures import Headers

from gateway.accounts import passwords, sessions
from gateway.accounts.auth import Accounts
from gateway.accounts.changes import tell
from gateway.accounts.database import writing
from gateway.accounts.passwords import Passwords, TooManyFailures, WeakPassword
from gateway.accounts.people import NameTaken, NoSuchUser, Users
from gateway.accounts.sessions import MAX_SESSIONS, NoSuchSession, Sessions, csrf_of, digest
from gateway.accounts.store import Store
from gateway.accounts.tables import SESSIONS
from gateway.errors import ApiError
from tests.support.accounts import EACH_DATABASE, accounts_at, bearer, rows, store_at, until

pytestmark = EACH_DATABASE
GOOD = "correct horse battery"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
def store(path: Path) -> Store:
    return store_at(path)


def by_cookie(token: str, **more: str) -> Headers:
    given = {name.replace("_", "-"): value for name, value in more.items()}
    return Headers({"cookie": f"other=1; atelier={token}", **given})


def test_names_that_read_the_same_are_one(store: Store) -> None:
    users = Users(store.engine)
    made = users.create("\uff21lice", "user")  # of full width
    for same in ("alice", "ALICE", " Alice "):
        assert users.named(same) == made
        with pytest.raises(NameTaken, match="is taken, or one that reads the same"):
            users.create(same, "user")
    assert users.named("bob") is None
    for bad in ("", " ", "a" * 101, "a\nb"):
        with pytest.raises(ValueError, match="1 to 100 printable characters"):
            users.create(bad, "user")


def test_nobody_is_changed_who_is_not_there(store: Store) -> None:
    users = Users(store.engine)
    for change in (users.disable, users.enable, users.delete, lambda one: users.set_password(one, "x")):
        with pytest.raises(NoSuchUser, match="no user has the id 'usr_0'"):
            change("usr_0")


def test_a_cookie_is_its_user_until_the_session_ends(path: Path, store: Store) -> None:
    async def run() -> None:
        async with accounts_at(path) as accounts:
            user = accounts.users.create("alice", "user")
            token = accounts.sessions.begin(user, "Browser")
            caller = await accounts.caller(by_cookie(token))
            assert (caller.id, caller.owner, caller.name) == (user.id, user.id, "alice")
            assert token not in str(rows(path, "select * from sessions")), "only its digest is kept"
            accounts.sessions.end(user.id, accounts.sessions.of(user)[0].id)
            await until(lambda: refused(accounts, token) == "session_over", "an ended session goes on")

    asyncio.run(run())


def refused(accounts: Accounts, token: str) -> str | None:
    """The code of the refusal, from what is in memory alone."""
    seen = accounts._seen.get(digest(token))
    return "session_over" if seen is None else None


def test_who_changes_something_by_a_cookie_says_our_word(path: Path) -> None:
    async def run() -> None:
        async with accounts_at(path) as accounts:
            token = accounts.sessions.begin(accounts.users.create("alice", "user"), "")
            word = csrf_of(token)
            good = by_cookie(token, x_csrf_token=word, sec_fetch_site="same-origin")
            assert (await accounts.caller(good, changes=True)).name == "alice"
            for bad in (
                by_cookie(token),
                by_cookie(token, x_csrf_token=csrf_of("another")),
                by_cookie(token, x_csrf_token=word, sec_fetch_site="cross-site"),
                by_cookie(token, x_csrf_token=word, sec_fetch_site="same-site"),
            ):
                with pytest.raises(ApiError, match="not from a page of ours") as told:
                    await accounts.caller(bad, changes=True)
                assert (told.value.status, told.value.code) == (403, "csrf")

    asyncio.run(run())


@pytest.mark.parametrize("token", ["", "x", "a" * 5000])
def test_cookies_that_are_nobodys_are_refused(path: Path, token: str) -> None:
    async def run() -> None:
        async with accounts_at(path) as accounts:
            with pytest.raises(ApiError) as told:
                await accounts.caller(by_cookie(token))
            assert told.value.status == 401

    asyncio.run(run())


def test_a_key_goes_before_a_cookie(path: Path, store: Store) -> None:
    async def run() -> None:
        async with accounts_at(path) as accounts:
            user = accounts.users.create("alice", "user")
            token = accounts.sessions.begin(user, "")
            text, key = store.create("mine", user=user.id)
            both = Headers({**bearer(text), "cookie": f"atelier={token}"})
            caller = await accounts.caller(both, changes=True)
            assert (caller.id, caller.owner) == (key.id, user.id)

    asyncio.run(run())


def test_a_session_whose_row_is_gone_is_not_known_for_long(path: Path, store: Store) -> None:
    async def run() -> None:
        async with accounts_at(path) as accounts:
            user = accounts.users.create("alice", "user")
            token = accounts.sessions.begin(user, "")
            await accounts.caller(by_cookie(token))
            with writing(store.engine) as connection:
                connection.execute(delete(SESSIONS))
                tell(connection)
            await until(lambda: not accounts._seen, "what is gone is still known")
            with pytest.raises(ApiError, match="this session is over"):
                await accounts.caller(by_cookie(token))

    asyncio.run(run())


@pytest.mark.parametrize("what", ["disable", "delete"])
def test_who_is_disabled_or_deleted_is_out_with_keys_and_sessions(path: Path, store: Store, what: str) -> None:
    async def run() -> None:
        async with accounts_at(path) as accounts:
            user = accounts.users.create("alice", "user")
            token = accounts.sessions.begin(user, "")
            text, _ = store.create("mine", user=user.id)
            for headers in (by_cookie(token), bearer(text)):
                await accounts.caller(headers)
            getattr(Users(store.engine), what)(user.id)
            assert store.keys()[0].revoked is not None
            await until(lambda: not accounts._seen, "what ended is still known")
            for headers in (by_cookie(token), bearer(text)):
                with pytest.raises(ApiError) as told:
                    await accounts.caller(headers)
                assert told.value.status == 401

    asyncio.run(run())


def test_sessions_end_by_age_and_where_nobody_comes(store: Store, path: Path) -> None:
    user = Users(store.engine).create("alice", "user")
    short, idle = Sessions(store.engine, days=1e-9, idle_days=7), Sessions(store.engine, days=30, idle_days=1e-9)
    for one in (short, idle):
        token = one.begin(user, "")
        found = one.find(digest(token))
        assert found is not None
        assert found.over(one.idle_days)
    assert idle.of(user) == []


def test_a_user_has_few_sessions_and_old_ones_are_swept(store: Store, path: Path) -> None:
    users, some = Users(store.engine), Sessions(store.engine, 30, 7)
    user, other = users.create("alice", "user"), users.create("bob", "user")
    tokens = [some.begin(user, f"Browser {number}") for number in range(MAX_SESSIONS + 3)]
    assert len(some.of(user)) == MAX_SESSIONS
    kept = [token for token in tokens if not found_over(some, token)]
    assert len(kept) == MAX_SESSIONS
    with pytest.raises(NoSuchSession, match="you have no such session"):
        some.end(other.id, some.of(user)[0].id)
    some.end_others(user.id, some.of(user)[0].id)
    assert len(some.of(user)) == 1
    rows_before = len(rows(path, "select id from sessions"))
    long_ago = time.time() - 2 * sessions.DAY
    rows(path, f"update sessions set created = {long_ago} where revoked is not null")
    some.begin(user, "")
    assert len(rows(path, "select id from sessions")) < rows_before


def found_over(some: Sessions, token: str) -> bool:
    found = some.find(digest(token))
    return found is None or found.over(some.idle_days)


def test_another_password_ends_every_session(store: Store) -> None:
    users, some = Users(store.engine), Sessions(store.engine, 30, 7)
    user = users.create("alice", "user", "old")
    some.begin(user, "")
    users.set_password(user.id, "new")
    assert some.of(user) == []
    changed = users.get(user.id)
    assert changed is not None
    assert changed.password == "new"


def test_passwords_are_kept_as_argon2id_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Passwords()
    stored = known.hash(GOOD, "alice")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert known.fits(stored, GOOD, "alice", "1.2.3.4")
    assert not known.fits(stored, GOOD + "x", "alice", "1.2.3.4")
    assert not known.fits(None, GOOD, "nobody", "1.2.3.4")
    assert not known.fits("no hash at all", GOOD, "alice", "1.2.3.4")


@pytest.mark.parametrize("bad", ["", "short", "a" * 201, "alice in w\0nder", "aaaaaaaaaaaa", "Alice Liddell"])
def test_weak_passwords_are_refused(bad: str) -> None:
    with pytest.raises(WeakPassword):
        Passwords().hash(bad, "alice liddell")


def test_who_guesses_waits_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Passwords()
    stored = known.hash(GOOD, "alice")
    for _ in range(passwords.FAILURES["name and address"]):
        assert not known.fits(stored, "wrong wrong", "alice", "1.2.3.4")
    with pytest.raises(TooManyFailures, match="try again in 15 minutes"):
        known.fits(stored, GOOD, "alice", "1.2.3.4")
    assert known.fits(stored, GOOD, "alice", "5.6.7.8"), "the owner comes from elsewhere"
    assert known.fits(stored, GOOD, "bob", "1.2.3.4"), "others of that address go on"
    monkeypatch.setattr(passwords, "WINDOW_SECONDS", 0.0)
    assert known.fits(stored, GOOD, "alice", "1.2.3.4"), "its time is over"


def test_failures_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "REMEMBERED", 8)
    known = Passwords()
    for number in range(20):
        known.fits(None, "x", f"name {number}", f"address {number}")
    assert len(known._failed) == 8
