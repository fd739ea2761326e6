"""The loads that only a gateway gets, against one as a process before an upstream that answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks import gateway
from benchmarks.export import SPEED_MODEL
from benchmarks.gateway_load import CROWD, Stop, beside, held_streams
from benchmarks.load import SEED
from benchmarks.server import eventually
from tests.gateway.plain_process import Process, process
from tests.support.fake_replies import Reply
from tests.support.fake_upstream import Asked, FakeUpstream, fake_upstream

STREAM = json.dumps({"model": "told", "prompt": "a", "stream": True})


@pytest.fixture
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as made:
        yield made


@pytest.fixture
def started(fake: FakeUpstream, tmp_path: Path) -> Iterator[Process]:
    patience = {"header_seconds": 0.5, "body_seconds": 0.5}
    with process(tmp_path, port=0, upstream=fake.address, models=list(fake.models), **patience) as made:
        yield made


def server_of(started: Process) -> Any:
    """As a benchmark knows it."""
    return SimpleNamespace(
        gateway=f"http://127.0.0.1:{started.port}",
        gateway_process=lambda: psutil.Process(started.process.pid),
        process=started.process,
    )


def test_half_sent_and_dripping_connections_are_renewed(started: Process) -> None:
    with beside(started.port) as crowd:
        eventually(lambda: crowd.sent > 2 * CROWD, 60, "those that were ended are not replaced")
        assert started.get("/healthz")


def test_streams_count_when_they_end_whole(started: Process, fake: FakeUpstream) -> None:
    held, peak = held_streams(server_of(started), 20, "/v1/completions", STREAM, "none")
    assert held == 20
    assert peak > 10 << 20
    event = b'data: {"choices": [{"index": 0, "text": "a", "finish_reason": null}]}\n\n'
    fake.models["told"].reply = lambda _: Reply((event, event), "text/event-stream", breaks=True)
    assert held_streams(server_of(started), 5, "/v1/completions", STREAM, "none")[0] == 0


def test_a_stop_under_load_is_accounted_for(started: Process) -> None:
    stop = Stop(server_of(started), {}, "drawn", "told")
    assert stop.lost == 0, stop.outcomes
    assert set(stop.outcomes) <= {"200", "503", "refused"}
    assert stop.outcomes["200"] > 0
    assert stop.outcomes["refused"] > 0


def test_what_was_taken_and_not_answered_is_lost(fake: FakeUpstream, started: Process) -> None:
    def die(_: Asked) -> Reply:
        started.process.kill()
        return Reply((b"",))

    fake.models["drawn"].reply = die
    stop = Stop(server_of(started), {}, "drawn", "told")
    assert stop.lost > 0


def test_the_same_requests_go_straight_and_through_it() -> None:
    server: Any = SimpleNamespace(inference="unix:/s", gateway="http://127.0.0.1:1")
    found = gateway.targets(server, "atl_x", gateway.SHEET)
    assert found["straight"].body == found["native"].body == f'{{"seed": {SEED}, "n": 4, "grid": true}}'
    assert found["straight"].headers == {}
    assert found["native"].headers == found["openai"].headers == {"Authorization": "Bearer atl_x"}
    asked = json.loads(found["openai"].body.replace(SEED, "1"))
    assert asked == {"model": SPEED_MODEL, "prompt": "", "seed": 1, "n": 4, "grid": True}
