"""/metrics: what happened is counted once, under the names that docs/metrics.md explains."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.client import request
from tests.conftest import ROOT
from tests.serving.conftest import JSON, Server

pytestmark = pytest.mark.server


def test_what_happened_is_counted(server: Server) -> None:
    before = server.metrics()
    for seed in range(3):
        assert server.post({"seed": seed, "n": 2}).status == 200
    assert server.post({"seed": -1}).status == 400
    assert server.post({}, headers={**JSON, "X-Atelier-Deadline": "1"}).status == 504
    assert server.post({"seed": 1, "n": 16}, "tight").status == 413
    written = server.post({"seed": 1, "max_tokens": 9, "temperature": 0}, "text")
    assert written.status == 200
    assert server.post({}, "nobody").status == 404
    assert request(server.inference, "POST", "/predictions/tiny/9.9", b"{}", JSON).status == 404
    after = server.metrics()

    def more(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert more('atelier_answers_total{model="tiny",status="200"}') == 3
    assert more('atelier_items_total{model="tiny"}') == 6
    assert more('atelier_rejections_total{model="tiny",reason="bad_request"}') == 1
    assert more('atelier_rejections_total{model="tiny",reason="deadline"}') == 1
    assert more('atelier_rejections_total{model="tight",reason="too_large"}') == 1
    assert 1 <= more('atelier_items_total{model="text"}') <= 9
    assert more('atelier_engine_seconds_count{model="tiny"}') == 3
    assert more('atelier_encode_seconds_count{model="tiny"}') == 3
    assert more('atelier_first_byte_seconds_count{model="tiny"}') == 3
    assert more('atelier_batch_size_requests_sum{model="tiny"}') == 3
    assert more('atelier_front_end_rejections_total{class="4xx"}') == 2  # the unknown model and the unknown version
    assert after["atelier_ready"] == 1
    assert after['atelier_in_flight_requests{model="tiny"}'] == 0
    assert after['atelier_queue_depth_requests{model="tiny"}'] == 0
    assert [name for name in after if name.startswith("atelier_variant_info") and 'model="text"' in name]


TABLE = (ROOT / "docs/metrics.md").read_text().partition("\n## The gateway's own")[0]


def test_every_name_is_documented_and_has_a_unit(server: Server) -> None:
    text = request(server.status, "GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    documented = set(
        re.findall(
            r"`(atelier_[a-z_]+?)(?:_total)?`",
            (ROOT / "docs/metrics.md").read_text().partition("\n## The gateway's own")[0],
        )
    )
    here = {"atelier_engine_restarts", "atelier_read_seconds"}  # only where it has happened
    here |= {"atelier_first_audio_seconds", "atelier_real_time_factor_ratio"}  # only where there is sound
    assert set(families) == documented - here | (here & set(families))
    for family in families.values():
        assert family.documentation
        counter = family.type == "counter"
        assert counter or family.name.endswith(("_seconds", "_requests", "_info", "_ready", "_ratio"))
