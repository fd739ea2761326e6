"""The history with its files in a real S3 server: sealed there, read back, and without it generation goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.server import serve
from gateway.settings import SettingsError
from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.gateway.kept_data import keys_file
from tests.support.fake_upstream import FakeUpstream
from tests.support.s3 import S3, VARIABLES, s3

pytestmark = pytest.mark.db
DRAW = "/api/generate/drawn"
BUCKET = "atelier-results"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with s3(tmp_path) as made:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": made.endpoint}.items():
            monkeypatch.setenv(name, value)
        made.ask("PUT", BUCKET)
        yield made


def files(gateway: Gateway) -> list[Any]:
    """The files of all generations, the newest first."""
    return [row["files"][0] for row in gateway.get("/api/history").json["data"]]


def test_files_are_sealed_there_and_read_back(fake: FakeUpstream, tmp_path: Path, server: S3) -> None:
    keys = keys_file(tmp_path, "k1")
    with running(settings_for(fake, tmp_path, results=f"s3://{BUCKET}/made", encryption_keys=keys)) as gateway:
        answer = gateway.post(DRAW, {"seed": 3})
        assert answer.status == 200
        (file,) = files(gateway)
        assert gateway.get(file["url"]).body == answer.body
        listed = server.ask("GET", f"{BUCKET}?list-type=2").decode()
        assert listed.count("<Key>made/") == 1
        name = listed.partition("<Key>")[2].partition("</Key>")[0]
        stored = server.ask("GET", f"{BUCKET}/{name}")
        assert answer.body[:8] not in stored, "it lies there as it was sent"
        assert gateway.ask("DELETE", "/api/history", {"confirm": "delete everything"}).status == 200
        assert "<Key>" not in server.ask("GET", f"{BUCKET}?list-type=2").decode()


def test_without_its_bucket_generation_goes_on(fake: FakeUpstream, tmp_path: Path, server: S3) -> None:
    with running(settings_for(fake, tmp_path, results=f"s3://{BUCKET}")) as gateway:
        server.ask("DELETE", BUCKET)
        assert gateway.post(DRAW, {"seed": 3}).status == 200
        (file,) = files(gateway)
        assert file["url"] is None
        ready = gateway.get("/readyz")
        assert (ready.status, ready.json["results"]) == (200, "it does not answer")
        server.ask("PUT", BUCKET)
        assert gateway.post(DRAW, {"seed": 4}).status == 200
        eventually(lambda: files(gateway)[0]["url"] is not None, 60, "it does not recover")
        assert gateway.get("/readyz").json["results"] == "ok"


def test_a_start_without_its_bucket_ends_with_the_reason(fake: FakeUpstream, tmp_path: Path, server: S3) -> None:
    settings = settings_for(fake, tmp_path, results="s3://another-bucket")
    with pytest.raises(SettingsError, match=r"setting results: s3://another-bucket .*there is no such bucket at http"):
        serve(settings)
