"""An engine that does not serve what was chosen for its machine answers all the same, and says so."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from handlers import bundle as bundles
from handlers import metrics
from handlers.runtimes.device import machine
from serving import fallbacks
from serving.status import Status
from serving.store import Model
from tests.conftest import Tiny
from tests.support.frontend import front_end
from tests.support.helpers import health

WHY = "passed over absent: it requires module no_such_runtime, which is not installed here"


def test_a_choice_that_does_not_open_is_told_in_health(tiny: Tiny, tmp_path: Path) -> None:
    manifest = tiny.bundle.manifest
    absent = dataclasses.replace(
        manifest.candidate(manifest.reference()["generator"]),
        id="absent",
        verdict="passed",
        requires={"module": "no_such_runtime"},
    )
    chosen = dataclasses.replace(
        manifest,
        candidates=(*manifest.candidates, absent),
        choice={machine().cpu: ({"generator": "absent"},)},
    )
    contents = {spec.path: tiny.bundle.read_file(key) for key, spec in manifest.files.items()}
    contents[manifest.certificate.path] = (tiny.bundle.directory / manifest.certificate.path).read_bytes()
    bundles.write(tmp_path / "tiny", chosen, contents)
    with front_end(bundles.read(tmp_path / "tiny")) as front:
        assert health(front)["reason"] == f"the engine is open; {WHY}"
        assert front.ask({"seed": 1}).status == 200


def test_it_is_told_in_ready(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "tiny": {"engine": "ready", "reason": f"the engine is open; {WHY}"},
        "well": {"engine": "ready", "reason": "the engine is open"},
        "closed": {"engine": "failed", "reason": f"no candidate can be served: {WHY}"},  # a problem, and told as one
    }

    def control(_: object, name: str, word: str) -> dict[str, str]:
        assert word == "health"
        if name not in answers:
            raise ConnectionRefusedError("nobody listens")
        return answers[name]

    monkeypatch.setattr(fallbacks, "control", control)
    manifest = tiny.bundle.manifest
    models = [
        Model(tiny.archive, dataclasses.replace(manifest, name=name), "1")
        for name in ("tiny", "well", "closed", "gone")
    ]
    status = Status()
    status.set(True, "every model answered a real request", {"tiny": "ready"})
    assert "fallbacks" not in status.get()[1]
    status.fallbacks = fallbacks.fallbacks(None, models)  # type: ignore[arg-type]
    ready, document = status.get()
    assert ready  # it answers
    assert document["fallbacks"] == {"tiny": WHY}
    assert json.dumps(document)


@pytest.mark.parametrize("fallback", [True, False])
def test_it_is_told_as_a_metric(fallback: bool) -> None:
    metrics.tell_variant("tiny", "1", {"generator": "x"}, fallback)
    (sample,) = (s for family in metrics.FALLBACK.collect() for s in family.samples if s.labels["model"] == "tiny")
    assert (sample.name, sample.value) == ("atelier_fallback_info", float(fallback))
