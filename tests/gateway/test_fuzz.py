"""Every route as its OpenAPI document has it, at values within it and beside it: no server error, nothing untrue."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.fuzzing import before, fuzzed
from tests.support.fake_upstream import FakeUpstream

pytestmark = pytest.mark.fuzz


def test_what_the_document_says_is_so(fake: FakeUpstream, tmp_path: Path) -> None:
    with before(fake, tmp_path) as (url, key, config):
        cases, said = fuzzed(url, key, config, 4)
    assert cases >= 500
    untested = said.partition("Missing test data")[2].partition("Schema validation mismatch")[0]
    assert {line.strip() for line in untested.splitlines() if line.startswith("  - ")} <= {
        "- GET /v1/responses/{id}",
        "- DELETE /v1/responses/{id}",
        "- DELETE /api/jobs/{id}",
        "- DELETE /api/history/{id}",
    }, "routes whose ids are none"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_the_document_says_is_so_at_many_values(fake: FakeUpstream, tmp_path: Path) -> None:
    with before(fake, tmp_path) as (url, key, config):
        cases, _ = fuzzed(url, key, config, 60)
    assert cases >= 5000
