"""One request's id in the logs of everything that it went through, with generators that misbehave on demand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.serving.conftest import eventually
from tests.support.gateway_server import Front, behind_a_gateway
from tests.support.sabotage import DIE, RAISE

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def front(faulty_store: Path, faulty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    options = ("--handlers", str(faulty_home), "--log-format", "json")
    with behind_a_gateway(faulty_store, tmp_path_factory.mktemp("one-request"), *options) as started:
        yield started


def logged(front: Front, name: str) -> list[dict[str, Any]]:
    """The lines of a log of the run that are JSON; the JVM prints a few by itself as it starts, which are not."""
    lines = (front.server.run_dir / name).read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def asked(front: Front, model: str, seed: int) -> tuple[int, str]:
    """The status of an answer, and the id that its caller is told."""
    url = f"http://127.0.0.1:{front.caller.port}/api/generate/{model}"
    answer = requests.post(url, json={"seed": seed}, timeout=60)
    return answer.status_code, answer.headers["x-request-id"]


def about(front: Front, name: str, identity: str) -> list[dict[str, Any]]:
    """Lines of a log that are about a request."""
    return [line for line in logged(front, name) if identity in line.get("request", "")]


@pytest.mark.parametrize("model", ["image", "text"])
def test_the_traceback_of_a_failing_generator_has_the_id_that_its_caller_was_told(front: Front, model: str) -> None:
    status, identity = asked(front, model, RAISE)
    assert status == 500
    eventually(lambda: bool(about(front, "torchserve.log", identity)), 30, "the engine's line does not come")
    line = about(front, "torchserve.log", identity)[0]
    assert (line["process"], line["level"]) == ("engine", "error")
    assert line["event"].startswith("a request failed: request ")
    assert line["exception"].endswith("RuntimeError: sabotage")
    eventually(lambda: bool(about(front, "gateway.log", identity)), 30, "the gateway's line does not come")
    assert about(front, "gateway.log", identity)[-1]["status"] == 500


def test_the_proxy_names_the_requests_that_died_with_their_engine(front: Front) -> None:
    status, identity = asked(front, "image", DIE)
    assert status == 503
    eventually(lambda: bool(about(front, "torchserve.log", identity)), 30, "the proxy's line does not come")
    line = about(front, "torchserve.log", identity)[0]
    assert (line["process"], line["event"]) == ("proxy", "1 requests are lost with their engine")


def test_what_workers_print_by_themselves_is_json_too(front: Front) -> None:
    printed = [line for line in logged(front, "torchserve.log") if line["process"] == "MODEL_LOG"]
    assert printed
    assert all(line["level"] == "info" and line["event"] for line in printed)
