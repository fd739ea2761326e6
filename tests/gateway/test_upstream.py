from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web

from gateway.errors import ApiError
from gateway.place import Place
from gateway.spool import Spool
from gateway.upstream import Upstream
from tests.gateway.conftest import eventually, settings_for
from tests.support.fake_upstream import Asked, FakeUpstream, Reply, refused, usual

Result = TypeVar("Result")


def asked(fake: FakeUpstream, folder: Path, work: Callable[[Upstream], Awaitable[Result]], **changes: Any) -> Result:
    """What `work` returns of a client that knows where `fake` is."""

    async def run() -> Result:
        spool = Spool(folder / "spool")
        upstream = Upstream(settings_for(fake, folder, **changes), spool)
        assert await upstream.locate()
        try:
            return await work(upstream)
        finally:
            await upstream.close()
            assert (spool.bytes, spool.files) == (0, 0), "a body was left in the spool"
            spool.close()

    return asyncio.run(run())


def test_an_answer_has_its_bytes_type_and_receipt(fake: FakeUpstream, tmp_path: Path) -> None:
    async def work(upstream: Upstream) -> None:
        async with upstream.generate("drawn", {"seed": 7}, caller="k1") as answer:
            assert answer.content_type == "image/png"
            assert answer.receipt["model"] == "drawn"
            assert (await answer.read()).startswith(b"\x89PNG")

    asked(fake, tmp_path, work)
    (seen,) = fake.asked
    assert seen.params == {"seed": 7}
    assert seen.headers["x-atelier-caller"] == "k1"
    assert 50 < float(seen.headers["x-atelier-timeout"]) <= 60
    assert not fake.cancelled


def test_leaving_early_cancels(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.hold()

    async def work(upstream: Upstream) -> None:
        async with upstream.generate(
            "chat", {"messages": [{"role": "user", "content": "a"}], "stream": True}, caller="k1"
        ) as answer:
            async for piece in answer.chunks():
                assert piece.startswith(b"data: ")
                break

    asked(fake, tmp_path, work)
    assert fake.cancelled == [("k1", fake.asked[0].headers["x-atelier-id"])]
    eventually(lambda: not fake.running, 30, "the request was not ended")


def test_an_error_of_the_model_names_its_field(fake: FakeUpstream, tmp_path: Path) -> None:
    async def work(upstream: Upstream) -> None:
        async with upstream.generate("drawn", {"seed": -1}, caller="k1"):
            pass

    with pytest.raises(ApiError, match="seed is -1, wanted an integer from 0") as caught:
        asked(fake, tmp_path, work)
    assert (caught.value.status, caught.value.param) == (400, "seed")


def test_a_busy_model_says_when_to_come_again(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.models["drawn"].reply = lambda _: refused(503, "busy", retry_after="7")

    async def work(upstream: Upstream) -> None:
        async with upstream.generate("drawn", {}, caller="k1"):
            pass

    with pytest.raises(ApiError, match="busy") as caught:
        asked(fake, tmp_path, work)
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.retry_after is not None
    assert 7 <= caught.value.retry_after <= 14


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_long_request_goes_by_the_spool_and_a_short_one_as_it_is(
    fake: FakeUpstream, tmp_path: Path, size: int
) -> None:
    params = {"messages": [{"role": "user", "content": "é" * size}]}
    read: list[bytes] = []

    def reply(asked: Asked) -> Reply:
        if "spooled" in asked.params:  # as the engine opens it
            found = asked.params["spooled"]
            data = (tmp_path / "spool" / found["name"]).read_bytes()
            assert (found["sha256"], found["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
            read.append(data)
        return usual(fake.models["chat"].document, {})

    fake.models["chat"].reply = reply

    async def work(upstream: Upstream) -> None:
        async with upstream.generate("chat", params, caller="k1") as answer:
            await answer.read()

    asked(fake, tmp_path, work)
    (seen,) = fake.asked
    if size == 10:
        assert seen.params == params and not read
    else:
        assert set(seen.params) == {"spooled"} and len(seen.body) < 200
        assert json.loads(read[0]) == params


def test_a_long_request_of_a_caller_who_leaves_is_removed_from_the_spool(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.hold()

    async def work(upstream: Upstream) -> None:
        async def ask() -> None:
            params = {"messages": [{"role": "user", "content": "a" * 100_000}]}
            async with upstream.generate("chat", params, caller="k1"):
                raise AssertionError("it was answered")

        task = asyncio.create_task(ask())
        while not fake.running:
            await asyncio.sleep(0.01)
        assert len(list((tmp_path / "spool").iterdir())) == 2  # the body, and the gateway's lock
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asked(fake, tmp_path, work)
    assert fake.cancelled


@pytest.mark.parametrize(
    ("queue", "in_flight", "places"), [(112, None, 128), (112, 10, 10), (1000, None, 320 - 5 * 8), (1000, 300, 280)]
)
def test_a_model_has_the_places_that_it_and_the_connections_allow(
    fake: FakeUpstream, tmp_path: Path, queue: int, in_flight: int | None, places: int
) -> None:
    fake.models["drawn"].document["limits"]["max_queue"] = queue

    async def work(upstream: Upstream) -> int:
        await upstream.describe("drawn")
        return upstream.turns("drawn").size

    assert asked(fake, tmp_path, work, in_flight=in_flight) == places


def test_whoever_asks_while_upstream_moves_is_asked_at_its_new_place(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved.sock"
    moved.symlink_to(fake.path)
    ends = aiohttp.ClientSession.close

    async def slowly(session: aiohttp.ClientSession) -> None:
        await ends(session)
        await asyncio.sleep(0.1)

    async def work(upstream: Upstream) -> None:
        await upstream.describe("drawn")
        place = Place(f"unix:{moved}", tuple(fake.models))
        monkeypatch.setattr("gateway.upstream.find", lambda _: place)
        moving = asyncio.create_task(upstream.locate())
        monkeypatch.setattr(aiohttp.ClientSession, "close", slowly)
        while upstream.place != place:
            await asyncio.sleep(0)
        while not moving.done():
            async with upstream.generate("drawn", {"seed": 7}, caller="k1") as answer:
                assert (await answer.read()).startswith(b"\x89PNG")
        assert await moving

    asked(fake, tmp_path, work)


def test_an_error_that_comes_in_pieces_is_read_whole(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = refused(400, "seed is odd", "seed").pieces

    async def work(upstream: Upstream) -> None:
        async with upstream.generate("drawn", {"seed": 1}, caller="k1"):
            pass

    async def late(_response: web.StreamResponse, data: bytes) -> None:
        await asyncio.sleep(0.1)
        await write(_response, data)

    write = web.StreamResponse.write
    fake.models["drawn"].reply = lambda _: Reply([whole[:9], whole[9:]], status=400)
    monkeypatch.setattr(web.StreamResponse, "write", late)
    with pytest.raises(ApiError, match="seed is odd") as caught:
        asked(fake, tmp_path, work)
    assert (caught.value.status, caught.value.param) == (400, "seed")
