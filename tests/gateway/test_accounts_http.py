"""Keys and limits as callers meet them: over HTTP, and with the official client."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import event
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import health
from gateway.accounts import audit, keys
from gateway.accounts.store import Store
from gateway.departure import unless_gone
from gateway.limits import Limits
from gateway.settings import LimitSettings
from tests.gateway.conftest import Gateway, Reply, eventually, running, settings_for
from tests.support.accounts import EACH_DATABASE, ONLY_SQLITE, rows, store_at
from tests.support.fake_upstream import FakeUpstream

pytestmark = EACH_DATABASE


async def listed(request: Request) -> Response:
    """A route that needs nothing of a model."""
    return JSONResponse({"object": "list", "data": []})


async def drawn(request: Request) -> Response:
    """A route that makes as many images as it is asked for."""
    caller, limits = request.state.caller, request.app.state.limits
    caller.need("image")
    count = int(request.query_params["n"])
    with limits.hold(caller, "images", count):
        limits.spend(caller, "images", count)
    return JSONResponse({})


async def waiting(request: Request) -> Response:
    """A route whose work never ends by itself."""
    await unless_gone(request, asyncio.Event().wait())
    return JSONResponse({})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = store_at(path)
    yield made
    made.engine.dispose()


@pytest.fixture
def start(fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Starts gateways that want keys, with three routes of this test."""
    made = [Route("/v1/models", listed), Route("/draw", drawn), Route("/wait", waiting)]
    monkeypatch.setattr("gateway.app.routes", lambda: [*made, *health.routes])
    return lambda **changes: running(settings_for(fake, tmp_path, **{"keys": "required", **changes}))


def models(gateway: Gateway, key: str) -> list[Any]:
    """What the official client makes of the list of models."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
        return list(client.models.list().data)


def get(gateway: Gateway, key: str, path: str = "/v1/models") -> Reply:
    return gateway.get(path, headers={"Authorization": f"Bearer {key}"})


def draw(gateway: Gateway, key: str, count: int) -> Reply:
    return get(gateway, key, f"/draw?n={count}")


def test_the_client_sees_errors_as_its_own(start: Callable[..., Any], store: Store) -> None:
    good, _ = store.create("good", ["text:generate"])
    old, _ = store.create("old", expires=time.time() - 1)
    revoked, revoked_key = store.create("revoked")
    store.revoke(revoked_key.id)
    with start() as gateway:
        assert models(gateway, good) == []
        for key, code in (
            ("sk-1", "invalid_api_key"),
            (keys.new_key(), "invalid_api_key"),
            (old, "expired_api_key"),
            (revoked, "revoked_api_key"),
        ):
            with pytest.raises(openai.AuthenticationError) as error:
                models(gateway, key)
            assert (error.value.status_code, error.value.code) == (401, code)
            assert error.value.type == "authentication_error"
            assert key not in error.value.message
        missing = gateway.get("/v1/models")
        assert (missing.status, missing.headers["www-authenticate"]) == (401, "Bearer")
        assert missing.json["error"] == {
            "message": "this needs an API key: send it as `Authorization: Bearer atl_...`; "
            "`python -m gateway keys create --name NAME` makes one",
            "type": "authentication_error",
            "param": None,
            "code": "missing_api_key",
        }
        forbidden = draw(gateway, good, 1)
        assert (forbidden.status, forbidden.json["error"]["code"]) == (403, "insufficient_scope")
        assert gateway.get("/healthz").status == 200, "what watches the gateway has no key"


def test_a_revoked_key_is_refused_soon(start: Callable[..., Any], store: Store) -> None:
    text, key = store.create("a")
    with start() as gateway:
        assert get(gateway, text).status == 200
        store.revoke(key.id)
        eventually(lambda: get(gateway, text).status == 401, 60, "it goes on")


def test_too_many_requests_a_minute(start: Callable[..., Any], store: Store) -> None:
    text, key = store.create("a", limits={"requests_a_minute": 3})
    with start(limits=LimitSettings(requests_a_minute=1)) as gateway:
        for _ in range(3):
            assert get(gateway, text).status == 200
        with pytest.raises(openai.RateLimitError, match=f"key {key.id} may send 3 requests a minute") as error:
            models(gateway, text)
        assert 1 <= int(error.value.response.headers["retry-after"]) <= 60
        assert error.value.response.headers["x-should-retry"] == "true"


def test_a_quota_stops_the_client_from_trying_again(
    start: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "day", lambda _: "2026-11-28")  # no midnight between the two
    text, _ = store.create("a")
    limits = LimitSettings(images_a_day=3)
    with start(limits=limits) as gateway:
        assert draw(gateway, text, 2).status == 200
    with start(limits=limits) as gateway:  # after a restart
        refused = draw(gateway, text, 2)
        assert (refused.status, refused.json["error"]["code"]) == (429, "insufficient_quota")
        assert refused.headers["x-should-retry"] == "false"
        assert int(refused.headers["retry-after"]) >= 1
        assert draw(gateway, text, 1).status == 200
        assert get(gateway, text).status == 200, "the rest goes on"


def test_a_caller_who_leaves_gives_his_place_back(start: Callable[..., Any], store: Store, path: Path) -> None:
    text, _ = store.create("a", limits={"concurrent": 1})
    with start() as gateway:
        connection = socket.create_connection(("127.0.0.1", gateway.port))
        connection.sendall(f"GET /wait HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {text}\r\n\r\n".encode())
        eventually(lambda: get(gateway, text).status == 429, 60, "the request did not begin")
        refused = get(gateway, text)
        assert "1 requests running, and may have 1 at once" in refused.json["error"]["message"]
        assert refused.headers["retry-after"] == "1"
        connection.close()
        eventually(lambda: get(gateway, text).status == 200, 60, "the place was not given back")
    assert ("/wait", 499) in rows(path, "select route, status from audit")


def test_the_log_has_every_request_that_was_let_in(start: Callable[..., Any], store: Store, path: Path) -> None:
    text, key = store.create("a")
    with start() as gateway:
        assert gateway.get("/v1/models").status == 401
        answers = [get(gateway, text), draw(gateway, text, 2), get(gateway, text, "/nothing")]
    found = rows(path, "select request_id, key_id, route, status, images from audit order by started")
    assert found == [
        (answer.headers["x-request-id"], key.id, route, status, images)
        for answer, route, status, images in zip(
            answers, ("/v1/models", "/draw", "none"), (200, 200, 404), (0, 2, 0), strict=True
        )
    ]


@pytest.mark.slow
@ONLY_SQLITE
def test_a_full_disk_under_the_log_is_a_503_with_its_reason(
    start: Callable[..., Any], store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAUSES", (0.05,))
    text, _ = store.create("a")
    full = [True]
    with start() as gateway:
        accounts = gateway.state.accounts

        @event.listens_for(accounts._store.engine, "checkout")
        def pages(connection: Any, _: Any, __: Any) -> None:
            most = connection.execute("PRAGMA page_count").fetchone()[0] if full[0] else 1_000_000
            connection.execute(f"PRAGMA max_page_count={most}")

        accounts.audit._room = 60
        answers: list[Reply] = []

        def refused() -> bool:
            answers.append(get(gateway, text))
            return answers[-1].status != 200

        eventually(refused, 60, "the disk was never full")
        error = answers[-1].json["error"]
        assert (answers[-1].status, error["code"]) == (503, "overloaded")
        assert "rows wait for the database (its disk is full): nothing was begun" in error["message"]
        assert int(answers[-1].headers["retry-after"]) >= 5
        ready = gateway.get("/readyz")
        assert (ready.status, ready.json["database"]) == (503, "its disk is full")
        assert ready.json["reason"] == "the log of requests is full; of its database: its disk is full"
        full[0] = False
        eventually(lambda: get(gateway, text).status == 200, 60, "it does not recover")
        eventually(lambda: gateway.get("/readyz").status == 200, 60, "it is not ready again")
    assert len(rows(path, "select * from audit where status=200")) > len(answers) - 2


@ONLY_SQLITE
def test_without_its_database_it_serves_callers_that_it_knows(
    start: Callable[..., Any], store: Store, path: Path
) -> None:
    known, _ = store.create("known")
    other, _ = store.create("other")
    with start() as gateway:
        assert get(gateway, known).status == 200
        away = path.with_name("away")
        away.mkdir()
        files = [file for file in path.parent.iterdir() if file.name.startswith("gateway.db")]
        for file in files:
            file.rename(away / file.name)
        eventually(lambda: gateway.get("/readyz").json["database"] != "ok", 60, "nobody noticed")
        assert gateway.get("/readyz").status == 200
        for _ in range(5):
            assert get(gateway, known).status == 200
        refused = get(gateway, other)
        error = refused.json["error"]
        assert (refused.status, error["code"], error["type"]) == (503, "database_unavailable", "server_error")
        assert error["message"] == (
            "the database of keys does not answer, and this key was not looked up in the last minutes: "
            "send the request again"
        )
        assert int(refused.headers["retry-after"]) >= 1
        assert not path.exists(), "an empty one was put in its place"
        for file in files:
            (away / file.name).rename(file)
        eventually(lambda: get(gateway, other).status == 200, 60, "it does not recover without a restart")
        assert gateway.get("/readyz").json["database"] == "ok"
    assert rows(path, "select count(*) from audit where status=200") == [(7,)], "a row was lost"


def test_no_sql_runs_on_the_event_loop(start: Callable[..., Any], store: Store) -> None:
    text, _ = store.create("a")
    threads = set()
    with start() as gateway:

        @event.listens_for(gateway.state.accounts._store.engine, "before_cursor_execute")
        def seen(*_: Any) -> None:
            threads.add(threading.current_thread().name.rpartition("_")[0] or threading.current_thread().name)

        for _ in range(5):
            assert draw(gateway, text, 1).status == 200
        assert gateway.state.accounts.audit.flush(60)
        assert threads == {"accounts", "audit"}


def test_two_headers_are_refused(start: Callable[..., Any], store: Store) -> None:
    text, _ = store.create("a")
    with start() as gateway:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        connection.putrequest("GET", "/v1/models")
        connection.putheader("Authorization", f"Bearer {text}")
        connection.putheader("Authorization", f"Bearer {keys.new_key()}")
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 401
        assert b"there are 2 Authorization headers: send one" in answer.read()
        connection.close()
