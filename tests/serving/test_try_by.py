"""Which way `serving try` takes: the gateway's where one runs, with a key if there is one, else the socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.client import Response
from serving.tryout import KEY, TryError, try_model

PNG = {"content-type": "image/png"}
RECEIPT = base64.urlsafe_b64encode(b'{"model": "faces", "version": "1", "params": {}}').decode().rstrip("=")


class Asked:
    """Stands in for whatever answers; notes what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gateway: str | None, wants: str | None = None) -> None:
        self.paths: list[str] = []
        self._wants = wants
        state = {"inference": "unix:/s", "models": {"faces": "1"}, "gateway": gateway}
        monkeypatch.setattr("serving.tryout.read_state", lambda _: state)
        monkeypatch.setattr("serving.tryout.request", self)

    def __call__(
        self, address: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Answer as a server would."""
        given = dict(headers or {})
        self.paths.append(f"{method} {address}{path}")
        if self._wants is not None and given.get("Authorization") != f"Bearer {self._wants}":
            return Response(401, {}, b"{}")
        if method == "GET" or "X-Atelier" in given:
            document: dict[str, Any] = {"example": {"seed": 7}, "params": []}
            return Response(200, {}, json.dumps(document).encode())
        return Response(200, {**PNG, "x-atelier-receipt": RECEIPT}, b"a picture")


@pytest.mark.parametrize("gateway", [None, "https://127.0.0.1:8443"])
def test_by_the_socket(gateway: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, gateway)
    assert try_model("faces", {}, tmp_path, tmp_path).files == (tmp_path / "faces.png",)
    assert asked.paths == ["POST unix:/s/predictions/faces"] * 2


def test_by_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    asked = Asked(monkeypatch, "http://g")
    assert try_model("faces", {}, tmp_path, tmp_path).files == (tmp_path / "faces.png",)
    assert asked.paths == ["GET http://g/api/models/faces", "POST http://g/api/generate/faces"]


def test_with_the_key_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Asked(monkeypatch, "http://g", wants="atl_x")
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(TryError, match=f"the gateway wants a key: make one with .*, and set {KEY} to it"):
        try_model("faces", {}, tmp_path, tmp_path)
    monkeypatch.setenv(KEY, "atl_x")
    assert try_model("faces", {}, tmp_path, tmp_path).files == (tmp_path / "faces.png",)
