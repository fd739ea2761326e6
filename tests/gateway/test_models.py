"""Which models there are, and what becomes of one that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.described import DescribeError, read
from tests.conftest import ROOT
from tests.gateway.conftest import eventually, running, settings_for
from tests.gateway.plain import plainly
from tests.support.fake_documents import documents
from tests.support.fake_upstream import FakeUpstream, Scripted, fake_upstream


def test_the_document_of_a_real_model_is_read() -> None:
    text = (ROOT / "tests/golden/describe.json").read_bytes()
    model = read("dcgan", text)
    assert (model.kind, model.medium, model.version) == ("latent_image", "image", "fd3a063f3f36")
    assert model.params["format"].choices == ("png", "jpeg", "webp")
    assert (model.params["n"].minimum, model.params["n"].maximum) == (1, 16)
    assert model.has("truncation")
    assert not model.has("prompt")
    assert model.document == json.loads(text)


def changed(**changes: Any) -> bytes:
    return json.dumps({**documents()["drawn"], **changes}).encode()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (changed(format="atelier-describe/3"), "model drawn is described in the format 'atelier-describe/3', this"),
        (b"[]", "in the format None, this gateway reads 'atelier-describe/2': run gateway and server of one version"),
        (b"<html>", "model drawn is described by what is no JSON"),
        (changed(name="other"), "the describe document of model drawn is not whole: ValueError(\"it is of 'other'\")"),
        (changed(limits={"max_slots": 1}), "limits without max_queue, max_seconds"),
        (changed(params=[{"type": "integer"}]), "is not whole: TypeError"),
        (changed(params=None), "is not whole: TypeError"),
        (changed(certificate=None), "is not whole: TypeError"),
    ],
)
def test_a_document_that_cannot_be_read_says_why(body: bytes, told: str) -> None:
    with pytest.raises(DescribeError) as caught:
        read("drawn", body)
    assert told in str(caught.value)


def test_a_document_of_another_version_costs_its_model_alone(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.models["chat"].document["format"] = "atelier-describe/3"
    with plainly(settings_for(fake, tmp_path), monkeypatch) as gateway:
        refused = gateway.post("/plain/chat", {})
        assert (refused.status, refused.json["error"]["code"]) == (502, "model_not_readable")
        assert "model chat is described in the format 'atelier-describe/3'" in refused.json["error"]["message"]
        assert refused.headers["x-should-retry"] == "false"
        assert gateway.post("/plain/drawn", {"seed": 7}).status == 200
        ready = gateway.get("/readyz")
        assert ready.status == 200
        assert list(ready.json["refused"]) == ["chat"]


def test_a_name_of_the_operator_s_leads_to_its_model(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(fake, tmp_path, aliases={"gpt-image-1": "drawn", "summary": "drawn"})
    with plainly(settings, monkeypatch) as gateway:
        assert gateway.post("/plain/gpt-image-1", {"seed": 7}).status == 200
        assert fake.asked[0].model == "drawn"
        gateway.post("/plain/summary", {})
        assert fake.asked[1].model == "summary"  # a model's own name goes first
        unknown = gateway.post("/plain/gpt-image-2", {})
        assert unknown.json["error"]["code"] == "model_not_found"
        assert unknown.json["error"]["param"] == "model"
        assert "there is altered, chat, digits, drawn, gpt-image-1, summary" in unknown.json["error"]["message"]


def state(fake: FakeUpstream, *names: str) -> str:
    """What a launcher writes of where it is."""
    return json.dumps({"inference": fake.address, "status": "http://127.0.0.1:1", "models": names, "pid": 1})


def test_models_appear_and_vanish_with_the_launcher_s_word(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.models.REFRESH_SECONDS", 0.05)
    settings = settings_for(fake, tmp_path, upstream=None, models=(), run_dir=tmp_path / "run")
    file = tmp_path / "run" / "state.json"
    with plainly(settings, monkeypatch) as gateway:
        ready = gateway.get("/readyz")
        assert (ready.status, ready.json["reason"]) == (503, "nothing is served: no launcher has said where")
        assert "there is nothing just now" in gateway.post("/plain/drawn", {}).json["error"]["message"]

        file.parent.mkdir()
        file.write_text(state(fake, "drawn"))
        eventually(lambda: gateway.get("/readyz").status == 200, 30, "it does not get ready")
        assert gateway.post("/plain/drawn", {"seed": 7}).status == 200

        fake.models["later"] = Scripted({**documents()["told"], "name": "later"})
        file.write_text(state(fake, "later"))
        eventually(lambda: gateway.post("/plain/later", {}).status == 200, 30, "the new model is not there")
        assert gateway.post("/plain/drawn", {}).status == 404

        file.unlink()
        eventually(lambda: gateway.get("/readyz").status == 503, 30, "it is still ready")
        assert gateway.post("/plain/later", {}).status == 200, "a state file that is gone ends nothing"

        file.write_text("{")
        assert gateway.get("/readyz").status == 503


def test_a_launcher_at_another_address_is_found(
    fake: FakeUpstream, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.models.REFRESH_SECONDS", 0.05)
    settings = settings_for(fake, tmp_path, upstream=None, models=(), run_dir=tmp_path)
    (tmp_path / "state.json").write_text(state(fake, "drawn"))
    with plainly(settings, monkeypatch) as gateway, fake_upstream(tmp_path_factory.mktemp("other")) as other:
        assert gateway.post("/plain/drawn", {"seed": 7}).status == 200
        fake.stop()
        (tmp_path / "state.json").write_text(state(other, "drawn"))
        eventually(lambda: gateway.post("/plain/drawn", {"seed": 8}).status == 200, 30, "it asks the old one")
        assert [asked.params for asked in other.asked] == [{"seed": 8}]


def test_ready_only_while_a_model_takes_requests(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.models.REFRESH_SECONDS", 0.05)
    with running(settings_for(fake, tmp_path)) as gateway:
        fake.models["chat"].healthy = False
        eventually(lambda: not gateway.get("/readyz").json["models"]["chat"], 30, "it does not see that chat is ill")
        assert gateway.get("/readyz").status == 200
        fake.stop()
        eventually(lambda: gateway.get("/readyz").status == 503, 30, "it is ready without anything behind it")
        assert gateway.get("/readyz").json["reason"] == "no model takes requests just now"
        fake.start()
        eventually(lambda: gateway.get("/readyz").status == 200, 30, "it does not get ready again")


def test_a_start_does_not_wait_for_an_upstream_that_hangs(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.deaf = True
    fake.hold()
    with plainly(settings_for(fake, tmp_path), monkeypatch) as gateway:
        assert gateway.get("/healthz").status == 200
        assert gateway.get("/readyz").status == 503
        fake.release()
        eventually(lambda: gateway.get("/readyz").status == 200, 20, "it does not get ready")
        assert gateway.post("/plain/drawn", {"seed": 7}).status == 200


def test_an_alias_of_a_model_that_is_not_served(fake: FakeUpstream, tmp_path: Path) -> None:
    """It is told with the name that it stands for, and offered to nobody."""
    settings = settings_for(fake, tmp_path, aliases={"gpt-image-1": "drawn", "ghost": "gone"})
    with running(settings) as gateway:
        answer = gateway.post("/api/generate/ghost", {})
    assert answer.status == 404
    told = answer.json["error"]["message"]
    assert told.startswith("there is no model 'gone', which 'ghost' is an alias of; there is ")
    offered = told.rpartition("there is ")[2].split(", ")
    assert "gpt-image-1" in offered
    assert "ghost" not in offered
