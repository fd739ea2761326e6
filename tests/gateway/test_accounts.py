"""Keys: their format, and who is let in."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from gateway.accounts import auth, keys
from gateway.accounts.auth import Accounts
from gateway.accounts.caller import Caller
from gateway.errors import ApiError
from gateway.settings import LimitSettings
from tests.support.accounts import (
    EACH_DATABASE,
    ONLY_SQLITE,
    accounts_at,
    bearer,
    rows,
    store_at,
    until,
)

pytestmark = EACH_DATABASE


def changed(key: str, at: int) -> str:
    return key[:at] + ("a" if key[at] != "a" else "b") + key[at + 1 :]


def test_keys_differ_and_are_of_one_form() -> None:
    made = {keys.new_key() for _ in range(200)}
    assert len(made) == 200
    for key in made:
        assert re.fullmatch(r"atl_[0-9A-Za-z]{49}", key)
        assert keys.fault(key) is None


def test_every_changed_character_is_noticed() -> None:
    key = keys.new_key()
    for at in range(len(key)):
        assert keys.fault(changed(key, at)) is not None, at


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("sk-123", "does not begin with atl_"),
        ("atl_123", "a key has 53 letters and digits with its atl_, this one has 7 characters"),
        ("atl_" + "é" * 49, "not all of them letters or digits"),
        ("atl_" + "0" * 49, "its checksum does not fit"),
    ],
)
def test_what_is_no_key_is_said_without_repeating_it(key: str, said: str) -> None:
    found = keys.fault(key)
    assert found is not None
    assert said in found
    assert key not in found


async def refusal(accounts: Accounts, headers: Headers) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await accounts.caller(headers)
    return refused.value


def test_a_key_is_its_caller(tmp_path: Path) -> None:
    store = store_at(tmp_path / "a.db")
    text, key = store.create("Zoë 测试", ["image:generate"], limits={"concurrent": 2, "images_a_day": 0})

    async def work() -> Caller:
        async with accounts_at(tmp_path / "a.db", LimitSettings(images_a_day=9, tokens_a_day=7)) as accounts:
            assert await accounts.caller(Headers({"authorization": f"bearer  {text} "})) == await accounts.caller(
                bearer(text)
            )
            return await accounts.caller(bearer(text))

    caller = asyncio.run(work())
    assert (caller.id, caller.name) == (key.id, "Zoë 测试")
    # its own limits over those of the settings; 0 takes a bound away
    assert caller.limits == LimitSettings(concurrent=2, images_a_day=0, tokens_a_day=7)
    caller.need("image")
    with pytest.raises(ApiError, match=f"needs a key with the scope text:generate; key {key.id} has image") as refused:
        caller.need("text")
    assert (refused.value.status, refused.value.type) == (403, "permission_error")


def test_a_key_without_scopes_may_do_everything() -> None:
    for medium in ("image", "text", "audio"):
        Caller("key_1", "a").need(medium)


@pytest.mark.parametrize(
    ("headers", "code", "said"),
    [
        ([], "missing_api_key", "this needs an API key: send it as `Authorization: Bearer atl_...`"),
        ([("authorization", "Basic YTpi")], "invalid_api_key", "holds no bearer key"),
        ([("authorization", "Bearer")], "invalid_api_key", "holds no bearer key"),
        ([("authorization", "Bearer sk-1")], "invalid_api_key", "does not begin with atl_"),
        ([("authorization", "Bearer atl_ü")], "invalid_api_key", "this one has"),
        ([("authorization", "Bearer a"), ("authorization", "Bearer b")], "invalid_api_key", "2 Authorization headers"),
    ],
)
def test_missing_and_malformed(tmp_path: Path, headers: list[tuple[str, str]], code: str, said: str) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]

    async def work() -> ApiError:
        async with accounts_at(tmp_path / "a.db") as accounts:
            return await refusal(accounts, Headers(raw=raw))

    error = asyncio.run(work())
    assert (error.status, error.code, error.type) == (401, code, "authentication_error")
    assert error.headers == {"www-authenticate": "Bearer"}
    assert said in error.message


def test_wrong_expired_and_revoked(tmp_path: Path) -> None:
    store = store_at(tmp_path / "a.db")
    old, old_key = store.create("old", expires=time.time() - 1)
    gone, gone_key = store.create("gone")
    store.revoke(gone_key.id)

    async def work() -> list[ApiError]:
        async with accounts_at(tmp_path / "a.db") as accounts:
            return [await refusal(accounts, bearer(key)) for key in (keys.new_key(), old, gone)]

    wrong, expired, revoked = asyncio.run(work())
    assert (wrong.status, wrong.code) == (401, "invalid_api_key")
    assert "nobody has this API key" in wrong.message
    assert (expired.status, expired.code) == (401, "expired_api_key")
    assert f"API key {old_key.id} expired at 20" in expired.message
    assert (revoked.status, revoked.code) == (401, "revoked_api_key")
    assert f"API key {gone_key.id} was revoked at 20" in revoked.message


def test_a_key_expires_while_it_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = store_at(tmp_path / "a.db").create("brief", expires=time.time() + 1000)

    async def work() -> ApiError:
        async with accounts_at(tmp_path / "a.db") as accounts:
            assert (await accounts.caller(bearer(text))).name == "brief"
            later = time.time() + 1001
            monkeypatch.setattr("time.time", lambda: later)
            return await refusal(accounts, bearer(text))

    assert asyncio.run(work()).code == "expired_api_key"


@ONLY_SQLITE
def test_a_key_that_another_process_revokes_is_refused_though_it_was_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_SECONDS", 1e9)  # the memory alone would go on for ever
    store = store_at(tmp_path / "a.db")
    text, key = store.create("a")
    other, _ = store.create("b")

    async def work() -> None:
        async with accounts_at(tmp_path / "a.db") as accounts:
            await accounts.caller(bearer(text))
            await accounts.caller(bearer(other))
            store.revoke(key.id)

            async def refused() -> bool:
                try:
                    await accounts.caller(bearer(text))
                except ApiError as error:
                    return error.code == "revoked_api_key"
                return False

            while not await refused():
                await asyncio.sleep(0.05)
            (tmp_path / "a.db").unlink()
            assert (await accounts.caller(bearer(other))).name == "b", "other keys are remembered on"

    asyncio.run(asyncio.wait_for(work(), 60))


@ONLY_SQLITE
def test_a_key_that_is_remembered_asks_the_database_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "POLL_SECONDS", 1e6)
    text, _ = store_at(tmp_path / "a.db").create("a")

    async def work() -> None:
        async with accounts_at(tmp_path / "a.db") as accounts:
            first = await asyncio.gather(*[accounts.caller(bearer(text)) for _ in range(50)])
            assert len(set(map(id, first))) == 1, "50 requests at once look a key up once"
            for path in tmp_path.iterdir():
                path.unlink()
            for _ in range(50):
                assert (await accounts.caller(bearer(text))).name == "a"

    asyncio.run(work())


def test_a_database_that_hangs_keeps_nobody_waiting_who_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_SECONDS", 0.0)  # every request would ask
    monkeypatch.setattr(auth, "POLL_SECONDS", 1e6)
    text, _ = store_at(tmp_path / "a.db").create("a")
    answers = threading.Event()

    async def work() -> None:
        async with accounts_at(tmp_path / "a.db") as accounts:
            await accounts.caller(bearer(text))
            find = accounts._store.find

            def hung(digest: str, day: str) -> Any:
                answers.wait()
                return find(digest, day)

            monkeypatch.setattr(accounts._store, "find", hung)
            for _ in range(20):
                assert (await accounts.caller(bearer(text))).name == "a"
            assert len(accounts._asked) == 1, "it is asked for once, beside them"
            answers.set()
            await until(lambda: not accounts._asked, "the look-up does not end")

    try:
        asyncio.run(work())
    finally:
        answers.set()


def test_what_changed_in_the_database_is_taken_over_beside_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_SECONDS", 0.0)
    text, key = store_at(tmp_path / "a.db").create("a")

    async def work() -> None:
        async with accounts_at(tmp_path / "a.db") as accounts:
            await accounts.caller(bearer(text))
            rows(tmp_path / "a.db", f"update api_keys set concurrent=7 where id='{key.id}'")
            while (await accounts.caller(bearer(text))).limits.concurrent != 7:
                await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(work(), 60))


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REMEMBERED", 5)
    text, _ = store_at(tmp_path / "a.db").create("a")

    async def work() -> None:
        async with accounts_at(tmp_path / "a.db") as accounts:
            for _ in range(20):
                await refusal(accounts, bearer(keys.new_key()))
                await accounts.caller(bearer(text))
            assert len(accounts._seen) == 5
            assert keys.digest(text) in accounts._seen, "what is asked for again stays"

    asyncio.run(work())


def test_more_look_ups_than_there_may_be_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "LOOK_UPS", 3)

    async def work() -> list[ApiError]:
        async with accounts_at(tmp_path / "a.db") as accounts:
            errors = await asyncio.gather(*[refusal(accounts, bearer(keys.new_key())) for _ in range(9)])
            await until(lambda: not accounts._asked, "look-ups were left behind")
            return errors

    errors = asyncio.run(work())
    assert [error.status for error in errors] == [401] * 3 + [503] * 6
    assert "too many keys are being looked up" in errors[-1].message
    assert errors[-1].retry_after is not None


def test_anybody_where_no_keys_are_wanted(tmp_path: Path) -> None:
    async def work() -> list[Caller]:
        async with accounts_at(tmp_path / "a.db", LimitSettings(concurrent=3), keyless=True) as accounts:
            return [await accounts.caller(headers) for headers in (Headers({}), bearer("sk-anything"))]

    for caller in asyncio.run(work()):
        assert (caller.id, caller.limits.concurrent) == ("anybody", 3)


@ONLY_SQLITE
def test_the_key_itself_is_stored_nowhere(tmp_path: Path) -> None:
    text, key = store_at(tmp_path / "a.db").create("a")

    async def work() -> None:
        async with accounts_at(tmp_path / "a.db") as accounts:
            await accounts.caller(bearer(text))
            accounts.audit.end(accounts.audit.begin("r", key.id), "/v1/models", 200)
            assert await asyncio.to_thread(accounts.audit.flush, 60)

    asyncio.run(work())
    assert rows(tmp_path / "a.db", "select hash, hint from api_keys") == [(keys.digest(text), text[:10])]
    files = list(tmp_path.iterdir())
    assert any(key.id.encode() in path.read_bytes() for path in files)
    for path in files:
        assert text[10:].encode() not in path.read_bytes(), path
        assert path.stat().st_mode & 0o077 == 0, "others could read it"
