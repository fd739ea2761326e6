"""Keys that are revoked or expire while their requests run and their jobs wait."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.caller import Caller
from gateway.accounts.standing import Standing
from gateway.accounts.store import Store
from gateway.errors import ApiError
from gateway.settings import LimitSettings
from tests.gateway.conftest import eventually
from tests.gateway.media import Media, media
from tests.gateway.raw import connected, head_of, request, to_the_end
from tests.gateway.test_jobs import began, ended
from tests.support.accounts import store_at

ASK = {"model": "chat", "messages": [{"role": "user", "content": "a"}], "stream": True}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = store_at(tmp_path / "gateway.db")
    yield made
    made.engine.dispose()


@pytest.fixture
def served(tmp_path: Path, store: Store) -> Iterator[Media]:
    with media(tmp_path, keys="required") as made:
        yield made
        made.fake.release()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_revocation_ends_streams_that_run_and_no_others(served: Media, store: Store) -> None:
    text, key = store.create("a")
    other, _ = store.create("b")
    served.fake.hold()
    with connected(served.gateway.port) as mine, connected(served.gateway.port) as theirs:
        for connection, whose in ((mine, text), (theirs, other)):
            connection.sendall(request("/v1/chat/completions", ASK, f"Authorization: Bearer {whose}"))
            assert head_of(connection)[0] == 200
        store.revoke(key.id)
        assert not to_the_end(mine).endswith(b"0\r\n\r\n"), "it ended as if it were whole"
        eventually(lambda: [who for who, _ in served.fake.cancelled] == [key.id], 30, "its work goes on")
        served.fake.release()
        assert b"data: [DONE]\n\n" in to_the_end_of(theirs)


def to_the_end_of(connection: Any) -> bytes:
    """A stream in chunks, to its last."""
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        piece = connection.recv(65_536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def test_revocation_is_the_answer_to_a_request_that_has_none_yet(served: Media, store: Store) -> None:
    text, key = store.create("a")
    served.fake.hold()
    with connected(served.gateway.port) as connection:
        connection.sendall(request("/api/generate/drawn", {"seed": 1}, f"Authorization: Bearer {text}"))
        eventually(lambda: served.fake.running == 1, 30, "the model was not asked")
        store.revoke(key.id)
        status, headers, rest = head_of(connection)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert f"API key {key.id} was revoked meanwhile: ask for another".encode() in rest


def test_jobs_of_a_revoked_key_are_not_begun_and_those_that_run_end_whole(served: Media, store: Store) -> None:
    text, key = store.create("a")
    state = served.gateway.state
    served.fake.hold()
    jobs = [began(served.gateway, "drawn", {"seed": seed}, headers=bearer(text)) for seed in range(3)]
    eventually(lambda: served.fake.running == 2, 30, "two are not at work")
    store.revoke(key.id)
    eventually(lambda: key.id in state.accounts.standing._revoked, 30, "the gateway does not learn of it")
    served.fake.release()
    found = [state.jobs.find(key.id, job) for job in jobs]
    eventually(lambda: all(job.over for job in found), 30, "a job does not end")
    assert [job.status for job in found] == ["done", "done", "failed"]
    assert found[2].error is not None
    assert (found[2].error.status, found[2].error.code) == (401, "revoked_api_key")
    assert [asked.params["seed"] for asked in served.fake.asked] == [0, 1]


def test_an_expired_key_begins_nothing_more() -> None:
    caller, standing = Caller("key_1", "a", expires=time.time() + 3600), Standing()
    standing.check(caller)
    with pytest.raises(ApiError, match="API key key_1 expired meanwhile: ask for another") as caught:
        standing.check(dataclasses.replace(caller, expires=time.time() - 1))
    assert (caught.value.status, caught.value.code) == (401, "expired_api_key")


def test_jobs_at_work_are_among_what_runs_at_once_and_can_be_asked_about(tmp_path: Path) -> None:
    with media(tmp_path, limits=LimitSettings(concurrent=1)) as served:
        served.fake.hold()
        try:
            job = began(served.gateway, "drawn", {"seed": 1})  # begins once the request that brought it is out
            eventually(lambda: served.fake.running == 1, 30, "it does not begin")
            reply = served.gateway.post("/api/generate/drawn", {"seed": 2})
            assert (reply.status, reply.json["error"]["code"]) == (429, "rate_limit_exceeded")
            assert "has 0 requests running and 1 jobs at work, and may have 1 at once" in reply.json["error"]["message"]
            assert served.gateway.get(f"/api/jobs/{job}").json["status"] == "running"
        finally:
            served.fake.release()
        assert ended(served.gateway, job)["status"] == "done"
        eventually(lambda: served.gateway.post("/api/generate/drawn", {"seed": 2}).status == 200, 30, "no room again")
