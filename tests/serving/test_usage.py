"""The commands that a launcher prints: what they call, and with which key."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving import usage as module
from serving.usage import usage

STATE = {"inference": "unix:/run/a.sock", "status": "http://127.0.0.1:1"}
GATEWAY = {**STATE, "gateway": "http://127.0.0.1:8080"}
MODELS: list[Any] = [SimpleNamespace(manifest=SimpleNamespace(name="faces", example={"seed": 7}))]


def answering(status: int | OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that answers so to whoever has no key."""

    def request(address: str, method: str, path: str, timeout: float) -> Any:
        assert (address, method, path) == (GATEWAY["gateway"], "GET", "/api/models")
        if isinstance(status, OSError):
            raise status
        return SimpleNamespace(status=status)

    monkeypatch.setattr(module, "request", request)


def call(text: str) -> list[str]:
    """The words of the command that calls the model."""
    (line,) = [line for line in text.splitlines() if line.startswith("call faces:")]
    return shlex.split(line.partition(":")[2])


def test_without_a_gateway_the_front_end_is_called() -> None:
    text = usage(STATE, MODELS)
    assert call(text)[-4:-2] == ["/run/a.sock", "http://localhost/predictions/faces"]
    assert "keys are wanted" not in text


def test_a_gateway_without_keys_is_called_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(200, monkeypatch)
    text = usage(GATEWAY, MODELS)
    assert call(text)[-3] == "http://127.0.0.1:8080/api/generate/faces"
    assert "Authorization" not in text
    assert "keys are wanted" not in text


@pytest.mark.parametrize("status", [401, OSError("a certificate for another name")])
def test_where_keys_are_wanted_one_is_made_first_and_sent(
    status: int | OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(status, monkeypatch)
    text = usage(GATEWAY, MODELS, Path("/etc/my gateway.toml"))
    assert call(text)[:3] == ["curl", "-H", "Authorization: Bearer $ATELIER_API_KEY"]
    assert "export ATELIER_API_KEY=$(python -m gateway keys create --name me --settings '/etc/my gateway.toml')" in text
