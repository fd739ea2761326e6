"""What a key may use: by the minute, at once, by the day and over a restart."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.accounts.audit import Audit
from gateway.accounts.caller import Caller
from gateway.errors import ApiError, response
from gateway.limits import Limits
from gateway.settings import LimitSettings
from tests.support.accounts import EACH_DATABASE, accounts_at, bearer, rows, store_at

pytestmark = EACH_DATABASE

EVENING = datetime(2026, 11, 28, 23, 0, tzinfo=UTC).timestamp()


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    def time(self) -> float:
        return EVENING + self.passed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(tmp_path: Path, clock: Clock) -> Limits:
    return Limits(Audit(store_at(tmp_path / "a.db")), clock.monotonic, clock.time)


def caller(name: str = "key_1", **limits: int) -> Caller:
    return Caller(name, name, frozenset(), LimitSettings(**limits))


async def ask(limits: Limits, who: Caller, count: int = 1) -> None:
    for _ in range(count):
        async with limits.admit(who):
            pass


def refused(limits: Limits, who: Caller) -> ApiError:
    with pytest.raises(ApiError) as error:
        asyncio.run(ask(limits, who))
    return error.value


def test_requests_a_minute(limits: Limits, clock: Clock) -> None:
    who = caller(requests_a_minute=5)
    asyncio.run(ask(limits, who, 2))
    clock.passed = 40
    asyncio.run(ask(limits, who, 3))
    error = refused(limits, who)
    assert (error.status, error.type, error.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert error.message == "key key_1 may send 5 requests a minute, and has sent 5 in the last one"
    assert error.retry_after == pytest.approx(20)
    asyncio.run(ask(limits, caller("key_2", requests_a_minute=5), 5))
    clock.passed = 60  # the first two are a minute ago; a window that moves gives these back and no more
    asyncio.run(ask(limits, who, 2))
    assert refused(limits, who).retry_after == pytest.approx(40)


def test_without_keys_everybody_is_counted_together(limits: Limits) -> None:
    who = caller("anybody", requests_a_minute=1)
    asyncio.run(ask(limits, who))
    said = "everybody together may send 1 requests a minute, and has sent 1 in the last one"
    assert refused(limits, who).message == said


def test_a_refused_request_does_not_count(limits: Limits, clock: Clock) -> None:
    who = caller(requests_a_minute=1)
    asyncio.run(ask(limits, who))
    clock.passed = 59
    for _ in range(10):
        refused(limits, who)
    clock.passed = 60
    asyncio.run(ask(limits, who))


def test_no_limit_keeps_nothing(limits: Limits) -> None:
    asyncio.run(ask(limits, caller(), 100))
    assert not limits._recent
    assert not limits._running


def test_requests_at_once_are_given_back_however_they_end(limits: Limits) -> None:
    who = caller(concurrent=2)

    async def work() -> None:
        async def wait() -> None:
            async with limits.admit(who):
                await asyncio.Event().wait()

        left = [asyncio.create_task(wait()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="key_1 has 2 requests running, and may have 2 at once") as error:
            await ask(limits, who)
        assert (error.value.status, error.value.retry_after, error.value.should_retry) == (429, 1.0, True)
        await ask(limits, caller("key_2", concurrent=2))
        left[0].cancel()  # its caller hung up
        await asyncio.wait([left[0]])
        await ask(limits, who)
        with pytest.raises(ZeroDivisionError):
            async with limits.admit(who):
                raise ZeroDivisionError
        await ask(limits, who)
        left[1].cancel()
        await asyncio.wait([left[1]])

    asyncio.run(work())
    assert not limits._running


def test_what_is_refused_for_its_rate_holds_no_place(limits: Limits) -> None:
    who = caller(requests_a_minute=1, concurrent=1)
    asyncio.run(ask(limits, who))
    refused(limits, who)
    assert not limits._running


def test_a_quota_that_is_used_up(limits: Limits, clock: Clock) -> None:
    who = caller(images_a_day=3)
    with limits.hold(who, "images", 2):
        limits.spend(who, "images", 2)
    with pytest.raises(ApiError) as error, limits.hold(who, "images", 2):
        pass
    assert (error.value.status, error.value.type, error.value.code) == (429, "insufficient_quota", "insufficient_quota")
    assert error.value.message.startswith(
        "this takes 2 images; of 3 a day, 2 are used. A new day begins at midnight UTC"
    )
    assert error.value.retry_after == pytest.approx(3600)
    answer = response(error.value)
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("3600", "false")
    with limits.hold(who, "images", 1):  # what is left, and other units
        limits.spend(who, "images", 1)
    with limits.hold(who, "tokens", 1000):
        limits.spend(who, "tokens", 1000)
    clock.passed = 3600
    with limits.hold(who, "images", 3):
        pass
    assert limits.used(who, "images") == 0


def test_requests_that_run_at_once_do_not_pass_a_quota_together(limits: Limits) -> None:
    who = caller(images_a_day=3)
    with limits.hold(who, "images", 2):
        with pytest.raises(ApiError, match="of 3 a day, 0 are used and 2 in requests that run"):
            limits.hold(who, "images", 2).__enter__()
        with limits.hold(who, "images", 1):
            pass
    with limits.hold(who, "images", 3):  # what failed and made nothing is given back
        pass


def test_more_than_the_quota_may_be_used_by_what_is_not_known_before(limits: Limits) -> None:
    """Tokens are counted when they are made; the request that passes the bound ends whole, the next one is refused."""
    who = caller(tokens_a_day=10)
    with limits.hold(who, "tokens"):
        limits.spend(who, "tokens", 25)
    with pytest.raises(ApiError, match="of 10 a day, 25 are used"), limits.hold(who, "tokens"):
        pass


def test_an_unknown_unit_is_a_mistake_of_ours(limits: Limits) -> None:
    with pytest.raises(ValueError, match="'pixels' is no unit; wanted one of images, tokens, audio_seconds"):
        limits.spend(caller(), "pixels", 1)


def test_quotas_survive_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "day", lambda _: "2026-11-28")  # no midnight between the two
    path = tmp_path / "a.db"
    text, key = store_at(path).create("a", limits={"images_a_day": 3})

    async def first() -> None:
        async with accounts_at(path) as accounts:
            who = await accounts.caller(bearer(text))
            record = accounts.audit.begin("r", who.id)
            with accounts.limits.hold(who, "images", 2):
                accounts.limits.spend(who, "images", 2)
            accounts.audit.end(record, "/v1/images/generations", 200)
            accounts.limits.spend(who, "audio_seconds", 1.5)

    async def second() -> None:
        async with accounts_at(path) as accounts:
            who = await accounts.caller(bearer(text))
            assert accounts.limits.used(who, "audio_seconds") == 1.5
            with pytest.raises(ApiError, match="this takes 2 images; of 3 a day, 2 are used"):
                accounts.limits.hold(who, "images", 2).__enter__()
            with accounts.limits.hold(who, "images", 1):
                accounts.limits.spend(who, "images", 1)

    asyncio.run(first())
    asyncio.run(second())
    assert rows(path, "select key_id, unit, amount from used order by unit") == [
        (key.id, "audio_seconds", 1.5),
        (key.id, "images", 3),
    ]


def test_the_quota_of_anybody_survives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "day", lambda _: "2026-11-28")  # no midnight between the two

    async def once(used_before: float) -> None:
        async with accounts_at(tmp_path / "a.db", LimitSettings(tokens_a_day=5), keyless=True) as accounts:
            who = await accounts.caller(bearer(""))
            assert accounts.limits.used(who, "tokens") == used_before
            accounts.limits.spend(who, "tokens", 4)

    asyncio.run(once(0))
    asyncio.run(once(4))


def test_a_key_that_is_looked_up_again_is_not_counted_twice(limits: Limits, clock: Clock) -> None:
    who = caller(images_a_day=9)
    limits.load("key_1", "2026-11-28", {"images": 4})
    limits.spend(who, "images", 1)
    limits.load("key_1", "2026-11-28", {"images": 5})
    assert limits.used(who, "images") == 5
    clock.passed = 3600  # a new day, of which a part was used and written when the key is looked up again
    limits.spend(who, "images", 2)
    limits.load("key_1", "2026-11-29", {"images": 2})
    assert limits.used(who, "images") == 2
    limits.load("key_2", "2026-11-28", {"images": 5})  # read before midnight, taken over after it
    assert limits.used(caller("key_2"), "images") == 0


def test_what_is_remembered_of_minutes_goes_with_the_day(limits: Limits, clock: Clock) -> None:
    asyncio.run(ask(limits, caller(requests_a_minute=5), 3))
    clock.passed = 3590
    asyncio.run(ask(limits, caller("key_2", requests_a_minute=5)))
    clock.passed = 3600
    assert limits.used(caller(), "images") == 0
    assert set(limits._recent) == {"key_2"}


def test_a_job_begins_where_what_runs_leaves_room_for_it(limits: Limits) -> None:
    who, other, freed = caller(concurrent=2), caller("key_2", concurrent=1), []
    limits.freed = lambda: freed.append(limits.takes_job(who))

    async def run() -> None:
        limits.job_began(who)
        assert limits.takes_job(who)
        async with limits.admit(who):
            assert not limits.takes_job(who)
            assert limits.takes_job(other)
            with pytest.raises(ApiError, match="key key_1 has 1 requests running and 1 jobs at work, and may have 2"):
                await ask(limits, who)
            async with limits.admit(who, works=False):  # it asks how the job is
                assert freed == []
        limits.job_ended(who)

    asyncio.run(run())
    assert freed == [False, True]  # somebody who waits is told each time
    assert not limits._running and not limits._jobs
