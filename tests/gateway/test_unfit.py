"""Settings that name what is not served are told: in the log, and by /readyz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway import unfit
from tests.gateway.conftest import eventually, running, settings_for
from tests.support.fake_upstream import FakeUpstream


def test_what_fits_nothing_is_told_and_refuses_nothing(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(unfit.log, "warning", lambda event, **more: told.append({"event": event, **more}))
    changes = {
        "aliases": {"gpt-image-1": "faces", "dall-e-3": "drawn"},
        "system": {"chat": "prepend", "talk": "prepend"},
        "voices": {"alloy": {}, "seven": {"label": "7"}, "deep": {"pitch": "low", "label": "7"}},
    }
    with running(settings_for(fake, tmp_path, **changes)) as gateway:
        ready = gateway.get("/readyz")
        assert ready.status == 200
        there = "there is altered, chat, digits, drawn, summary, told"
        wanted = [
            f"setting aliases: gpt-image-1 stands for faces, which is not served; {there}",
            f"setting system: talk is not served; {there}",
            "setting voices: deep is pitch, label, which no model of sound takes; it is never offered",
        ]
        assert ready.json["warnings"] == wanted
        eventually(lambda: len(told) == 3, 20, "it is not logged")
        gateway.state.unfit.tell()
        assert [line["reason"] for line in told] == wanted, "it is said once"


def test_while_models_are_loaded_nothing_is_told_and_a_list_of_them_is_not_empty_but_late(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    settings = settings_for(fake, tmp_path, aliases={"gpt-image-1": "faces"})
    nowhere = settings.model_copy(update={"upstream": None, "models": (), "run_dir": tmp_path / "nothing"})
    with running(nowhere) as gateway:
        listed = gateway.get("/v1/models")
        assert (listed.status, listed.json["error"]["code"]) == (503, "overloaded")
        assert int(listed.headers["retry-after"]) >= 2
        assert "no model answers yet, they are being loaded: ask again" in listed.json["error"]["message"]
        assert gateway.get("/readyz").json["warnings"] == []
