"""Traces: spans of a request and of what it asked, below its caller's; and that no request waits for a collector."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import traces
from gateway.settings import OtelSettings, SettingsError, load
from tests.conftest import ROOT
from tests.gateway.conftest import eventually
from tests.gateway.media import Media, media
from tests.support.otlp import Collector, attributes, collector

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collecting() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture
def served(tmp_path: Path, collecting: Collector) -> Iterator[Media]:
    with media(tmp_path, otel={"endpoint": collecting.endpoint, "service_name": "faces"}) as made:
        yield made


def test_a_request_and_what_it_asks_are_spans_below_its_caller_s(served: Media, collecting: Collector) -> None:
    given = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    reply = served.gateway.post("/api/generate/drawn", {"seed": 7}, headers=given)
    eventually(lambda: len(collecting.spans) >= 2, 30, "no spans come")
    (outer,) = collecting.named("POST /api/generate/{name}")
    (inner,) = collecting.named("generate drawn")
    assert (outer.trace_id.hex(), outer.parent_span_id.hex()) == (TRACE, PARENT)
    assert (inner.trace_id, inner.parent_span_id) == (outer.trace_id, outer.span_id)
    assert served.fake.asked[-1].headers["traceparent"] == f"00-{TRACE}-{inner.span_id.hex()}-01"
    told = attributes(outer)
    assert told["http.response.status_code"] == 200
    assert told["atelier.request"] == reply.headers["x-request-id"]
    assert attributes(inner) == {"atelier.model": "drawn"}
    assert "faces" in collecting.services


def test_a_failure_says_what_ended_it(served: Media, collecting: Collector) -> None:
    assert served.gateway.post("/api/generate/drawn", {"seed": -1}).status == 400
    eventually(lambda: len(collecting.spans) >= 2, 30, "no spans come")
    assert attributes(collecting.named("generate drawn")[0])["error.type"] == "ApiError"
    assert attributes(collecting.named("POST /api/generate/{name}")[0])["http.response.status_code"] == 400


def test_a_job_is_below_the_request_that_began_it(served: Media, collecting: Collector) -> None:
    served.gateway.post("/api/jobs/drawn", {"seed": 7})
    eventually(lambda: len(collecting.named("generate drawn")) == 1, 30, "no span comes")
    (began,) = collecting.named("POST /api/jobs/{id}")
    assert collecting.named("generate drawn")[0].parent_span_id == began.span_id


def test_signs_of_life_are_no_spans_and_what_is_not_sampled_is_none(tmp_path: Path, collecting: Collector) -> None:
    with media(tmp_path, otel={"endpoint": collecting.endpoint, "sample": 0}) as served:
        served.gateway.get("/healthz")
        served.gateway.get("/readyz")
        served.gateway.get("/v1/models")
        served.gateway.get("/v1/models", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})  # its caller samples
    assert [span.name for span in collecting.spans] == ["GET /v1/models"]  # the stop sends what waits
    assert collecting.spans[0].trace_id.hex() == TRACE


def test_a_collector_that_stands_still_holds_nobody_and_no_stop_up(
    tmp_path: Path, collecting: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "QUEUE", 8)
    monkeypatch.setattr(traces, "BATCH", 4)
    monkeypatch.setattr(traces, "SEND_SECONDS", 0.5)
    monkeypatch.setattr(traces, "CLOSE_SECONDS", 0.2)
    collecting.go.clear()
    with media(tmp_path, otel={"endpoint": collecting.endpoint}) as served:
        for seed in range(30):
            assert served.gateway.post("/api/generate/drawn", {"seed": seed}).status == 200
        eventually(lambda: collecting.asked > 0, 30, "nothing is sent")
        processor = served.gateway.state.traces._provider._active_span_processor._span_processors[0]
        assert len(processor._batch_processor._queue) <= 8, "the queue has no bound"
    assert collecting.spans == []  # and the gateway stopped all the same: `media` waits for it


def test_a_collector_that_is_not_there_is_nobody_s_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "CLOSE_SECONDS", 0.2)
    with media(tmp_path, otel={"endpoint": "http://127.0.0.1:9/v1/traces"}) as served:
        assert served.gateway.post("/api/generate/drawn", {"seed": 7}).status == 200


def test_nothing_of_it_is_imported_where_it_is_not_configured() -> None:
    code = "import sys, gateway.server; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_settings_say_what_is_wanted(tmp_path: Path) -> None:
    assert load(None, {"ATELIER_GATEWAY_OTEL": '{"endpoint": "http://c:4318/v1/traces"}'}).otel == OtelSettings(
        endpoint="http://c:4318/v1/traces"
    )
    file = tmp_path / "gateway.toml"
    for text, message in (
        ('endpoint = "http://c:4318"', "setting otel.endpoint is 'http://c:4318', wanted: the whole address of a col"),
        ('endpoint = "http://c/v1/traces"\nsample = 2', "setting otel.sample is '2', wanted: a share of the requests"),
        ('endpoint = "http://c/v1/traces"\nname = "a"', "setting otel.name is unknown; known: endpoint, service_name,"),
    ):
        file.write_text(f"[otel]\n{text}\n")
        with pytest.raises(SettingsError, match=message.replace(".", r"\.")):
            load(file, {})
