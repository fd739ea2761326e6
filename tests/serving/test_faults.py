"""Parts broken on purpose under traffic (benchmarks/faults.py does it): who suffers, and for how long."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import bad_clients, faults
from benchmarks.fault_result import CLIENTS, FaultResult
from benchmarks.traffic import request_outcome
from tests.serving.conftest import Server, running
from tests.support import sabotage

pytestmark = pytest.mark.server
MODELS = ("image", "text")


def told(outcome: FaultResult) -> FaultResult:
    """Print the account (pytest -s shows it) and hand it on."""
    print(f"{outcome.fault}: {dict(outcome.outcomes)}, {outcome.lost} lost, back after {outcome.recovered_s} s")
    assert outcome.outcomes["200"] > 0
    return outcome


@pytest.mark.parametrize("model", MODELS)
def test_a_killed_engine_takes_only_what_was_in_it(faulty: Server, model: str) -> None:
    workers = {process.pid for process in faulty.workers()}
    before = faulty.control(model, "health")["restarts"]
    outcome = told(faults.kill_engine(faulty, model))
    assert outcome.lost == 0
    assert set(outcome.outcomes) <= {"200", "503"}
    assert outcome.outcomes.get("503", 0) <= CLIENTS
    assert {process.pid for process in faulty.workers()} == workers
    assert faulty.control(model, "health")["restarts"] == before + 1


@pytest.mark.parametrize("model", MODELS)
def test_a_request_that_raises_fails_alone(faulty: Server, model: str) -> None:
    engine = faulty.engine_of(model).pid
    outcome = told(faults.raising(faulty, model))
    assert set(outcome.outcomes) == {"200"}  # none of its neighbours
    assert faulty.engine_of(model).pid == engine


@pytest.mark.parametrize("model", MODELS)
def test_a_request_that_never_ends_is_ended(faulty: Server, model: str) -> None:
    outcome = told(faults.standing_still(faulty, model))
    assert outcome.lost == 0
    assert set(outcome.outcomes) <= {"200", "503"}
    assert outcome.outcomes.get("503", 0) <= CLIENTS


@pytest.mark.parametrize("model", MODELS)
def test_a_request_that_kills_its_engine_does_not_kill_the_server(faulty: Server, model: str) -> None:
    workers = {process.pid for process in faulty.workers()}
    outcome = told(faults.dying(faulty, model))
    assert outcome.lost == 0
    assert set(outcome.outcomes) <= {"200", "503"}
    assert {process.pid for process in faulty.workers()} == workers


@pytest.mark.parametrize("model", MODELS)
def test_a_slow_request_ends_at_its_deadline(faulty: Server, model: str) -> None:
    headers = {"Content-Type": "application/json", "X-Atelier-Deadline": str(time.time() + 0.2)}
    answer = faulty.post({"seed": sabotage.SLOW, **faults.LONG[model]}, model, headers)
    assert answer.status == 504
    assert b"the deadline" in answer.body
    assert request_outcome(faulty, model, 10, seed=1) == "200"


def test_two_hundred_clients_that_hang_up_cost_nothing(faulty: Server) -> None:
    workers = {process.pid for process in (*faulty.workers(), *faulty.engines())}
    assert told(bad_clients.hang_up(faulty)).outcomes == {"200": 200}
    assert {process.pid for process in (*faulty.workers(), *faulty.engines())} == workers


def test_bodies_that_would_cost_much_cost_nobody_an_answer(faulty: Server) -> None:
    processes = {process.pid for process in (*faulty.workers(), *faulty.engines())}
    assert set(told(bad_clients.costly_bodies(faulty, "image")).outcomes) == {"200"}
    assert {process.pid for process in (*faulty.workers(), *faulty.engines())} == processes


def test_malformed_forms_and_headers_kill_nobody(faulty: Server) -> None:
    workers = {process.pid for process in (*faulty.workers(), *faulty.engines())}
    before = faulty.metrics()
    outcome = bad_clients.malformed_http(faulty, "image")
    print(outcome.outcomes)
    assert sum(outcome.outcomes.values()) == 5 * len(bad_clients.MALFORMED)
    assert "200" not in outcome.outcomes
    assert {process.pid for process in (*faulty.workers(), *faulty.engines())} == workers
    after = faulty.metrics()
    counted = sum(
        after[f'atelier_front_end_rejections_total{{class="{name}"}}']
        - before[f'atelier_front_end_rejections_total{{class="{name}"}}']
        for name in ("4xx", "5xx")
    )
    assert counted > 0  # what no worker saw is counted all the same


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


# Bodies that are no request by construction, each with how its refusal begins.
Malformed = tuple[bytes, str]
LEAVES = (
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=20)
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
)
RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 2**53 - 1),
    "n": st.integers(1, 16),
    "truncation": st.floats(0, 1),
    "format": st.sampled_from(["png", "jpeg", "webp"]),
    "quality": st.integers(1, 100),
    "grid": st.booleans(),
}
REQUESTS = st.fixed_dictionaries({}, optional=RIGHT)
WRONG = st.integers(min_value=2**60) | st.lists(st.integers(), max_size=2) | st.text(min_size=6, max_size=9)  # for each


@st.composite
def cut_short(draw: st.DrawFn) -> Malformed:
    whole = as_json(draw(REQUESTS))
    return whole[: draw(st.integers(1, len(whole) - 1))], "the body is not valid JSON"


@st.composite
def with_an_unknown_field(draw: st.DrawFn) -> Malformed:
    name = draw(st.text(max_size=10).filter(lambda name: name not in RIGHT))
    return as_json({**draw(REQUESTS), name: draw(TREES)}), "unknown field "


@st.composite
def with_a_wrong_value(draw: st.DrawFn) -> Malformed:
    name = draw(st.sampled_from(sorted(RIGHT)))
    return as_json({**draw(REQUESTS), name: draw(WRONG)}), f"{name} is "


MALFORMED = st.one_of(
    st.binary(max_size=200).map(lambda tail: (b"}" + tail, "the body is not valid JSON")),
    st.text(max_size=100).map(lambda tail: (b"}" + tail.encode(), "the body is not valid JSON")),
    st.text(" \t\r\n", max_size=9).map(lambda space: (space.encode(), "the body is empty")),
    st.sampled_from([b'{"seed": NaN}', b"[Infinity]", b"-Infinity"]).map(lambda body: (body, "the body holds ")),
    TREES.filter(lambda tree: not isinstance(tree, dict)).map(lambda tree: (as_json(tree), "the body is ")),
    cut_short(),
    with_an_unknown_field(),
    with_a_wrong_value(),
)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MALFORMED)
def test_a_thousand_malformed_bodies_get_a_400_each(faulty: Server, malformed: Malformed) -> None:
    body, beginning = malformed
    answer = faulty.post(body, "image")
    assert answer.status == 400, (body, answer.status, answer.body)
    assert json.loads(answer.body)["message"].startswith(beginning), body


def test_nobody_died_of_them(faulty: Server) -> None:
    assert len(faulty.workers()) == len(faulty.engines()) == 2
    faulty.await_ready()


def test_killed_workers_are_replaced(faulty: Server) -> None:
    outcome = told(faults.kill_worker(faulty, "image"))
    assert outcome.lost == 0
    assert outcome.lost_in_flight <= 4 * CLIENTS  # what was in flight; the rest was refused while TorchServe started
    # 507 is the front end's own word for a request whose worker died under it; it has it for some of them
    assert set(outcome.outcomes) <= {"200", "503", "404", "507", "lost", "refused"}


def test_a_killed_jvm_is_replaced_and_leaves_no_orphan(faulty: Server) -> None:
    outcome = told(faults.kill_jvm(faulty, "text"))
    assert outcome.lost == 0
    assert outcome.lost_in_flight <= 4 * CLIENTS
    assert faulty.metrics()["atelier_torchserve_restarts_total"] >= 2
    assert len(faulty.processes()) == 5  # the JVM, and two workers with their engines


def test_a_new_front_end_goes_on_counting(faulty: Server) -> None:
    """It counts from 0 after the restarts above, while the files of the workers go on."""
    assert faulty.metrics()["atelier_torchserve_restarts_total"] >= 1
    name = 'atelier_front_end_rejections_total{class="4xx"}'
    before = faulty.metrics()[name]
    assert faulty.post({}, "nobody").status == 404  # which no worker sees
    assert faulty.metrics()[name] == before + 1


def test_an_archive_that_breaks_while_it_is_served_changes_nothing(
    faulty_store: Path, faulty_home: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(faulty_store, store)
    with running(store, tmp_path / "run", "--handlers", str(faulty_home)) as server:
        told(faults.broken_archive(server, store, "text", "image"))


def test_a_full_disk_stops_nobody(faulty_store: Path, faulty_home: Path, tmp_path: Path) -> None:
    try:
        outcome = told(faults.full_disk(faulty_store, tmp_path, "image", faulty_home))
    except PermissionError as error:
        pytest.skip(f"{error}: run as root to try a full disk")
    assert outcome.lost == 0
    assert set(outcome.outcomes) <= {"200", "503"}


def test_a_server_that_cannot_be_kept_running_gives_up_where_that_is_asked_for(store: Path, tmp_path: Path) -> None:
    with running(store, tmp_path / "run", "--give-up-after", "3") as server:
        while server.process.poll() is None:  # the test's own time limit ends it otherwise
            for process in server.processes():
                with contextlib.suppress(psutil.Error):
                    if "java" in process.cmdline()[0]:
                        process.kill()
            time.sleep(0.2)
        assert server.process.wait() == 1
        assert not server.processes()
        log = (server.run_dir / "launcher.log").read_text()
        assert "giving up" in log
        assert log.rstrip().endswith("stopped; nothing is left running")
