"""/metrics of the gateway: what happened is counted once, under the names that docs/metrics.md explains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.accounts.caller import Caller
from gateway.bounds import REFUSALS
from tests.conftest import ROOT
from tests.gateway.conftest import Gateway, eventually, settings_for
from tests.gateway.plain import plainly
from tests.gateway.raw import connected, request
from tests.support.fake_upstream import FakeUpstream

TABLE = (ROOT / "docs/metrics.md").read_text().partition("\n## The gateway's own")[2]


def values(gateway: Gateway) -> dict[str, float]:
    """Every sample by its name and labels."""
    text = gateway.get("/metrics").body.decode()
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_name_is_documented_and_no_other(gateway: Gateway) -> None:
    text = gateway.get("/metrics").body.decode()
    found = {family.name: family.type for family in text_string_to_metric_families(text)}
    rows = re.findall(r"^\| `(\w+?)(?:_total)?` \| (\w+) \|", TABLE, re.MULTILINE)
    assert found == dict(rows)
    bounds = set(re.findall(r"^\| (\w+) \| (?:that|whose|with|idle) ", TABLE, re.MULTILINE))
    assert bounds == {*REFUSALS, "send_seconds"}


def test_answers_and_what_is_in_hand_are_counted(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plainly(settings_for(fake, tmp_path, in_flight=1), monkeypatch) as gateway:
        assert gateway.post("/plain/drawn", {"seed": 7}).status == 200
        assert gateway.post("/plain/drawn", {"seed": -1}).status == 400
        assert gateway.post("/elsewhere", {}).status == 404
        before = values(gateway)
        assert before["atelier_gateway_answers_total//plain/{model}/200"] == 1
        assert before["atelier_gateway_answers_total//plain/{model}/400"] == 1
        assert before["atelier_gateway_answers_total/none/404"] == 1
        assert before["atelier_gateway_answer_seconds_count//plain/{model}"] == 2
        assert before["atelier_gateway_in_flight_requests"] == 1

        fake.hold()
        turns = gateway.state.upstream.turns("drawn")
        with connected(gateway.port) as first, connected(gateway.port) as second:
            first.sendall(request("/plain/drawn", {"seed": 1}))
            eventually(lambda: turns.held == 1, 30, "it is not asked")
            second.sendall(request("/plain/drawn", {"seed": 2}))
            eventually(lambda: turns.waiting == 1, 30, "it does not wait")
            now = values(gateway)
            assert now["atelier_gateway_in_flight_requests"] == 3
            assert now["atelier_gateway_upstream_requests/drawn"] == 1
            assert now["atelier_gateway_waiting_requests/drawn"] == 1
            assert now["atelier_gateway_connections"] == 3
        eventually(lambda: values(gateway)["atelier_gateway_departures_total"] == 2, 30, "nobody left")
        assert values(gateway)["atelier_gateway_answers_total//plain/{model}/499"] == 2


def test_a_key_of_another_scope_reads_no_metrics(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plainly(settings_for(fake, tmp_path), monkeypatch) as gateway:
        for scope, status in (("image:generate", 403), ("metrics", 200)):

            async def caller(_: object, _changes: bool = False, scope: str = scope) -> Caller:
                return Caller("k1", "k1", frozenset({scope}))

            monkeypatch.setattr(gateway.state.accounts, "caller", caller)
            answer = gateway.get("/metrics")
            assert answer.status == status
            if status == 403:
                assert (
                    "needs a key with the scope metrics; key k1 has image:generate" in answer.json["error"]["message"]
                )
