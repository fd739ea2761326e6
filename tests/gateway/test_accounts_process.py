"""Keys, quotas and the log over the end of a gateway's process, with the routes that there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import ROOT
from tests.gateway.conftest import eventually
from tests.gateway.plain_process import Process, process
from tests.support.accounts import EACH_DATABASE, ONLY_SQLITE, rows, sound, store_at
from tests.support.fake_upstream import FakeUpstream

pytestmark = EACH_DATABASE


def draw(gateway: Process, key: str, count: int) -> int:
    """How many images the official client gets."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=key, max_retries=0) as client:
        return len(client.images.generate(model="drawn", prompt="", n=count).data or [])


def test_a_quota_goes_on_after_kill_9(fake: FakeUpstream, tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    store = store_at(path)
    key, stored = store.create("a", ["image:generate"], limits={"images_a_day": 4})
    other, _ = store.create("b", ["text:generate"])
    settings: dict[str, Any] = {"port": 0, "upstream": fake.address, "models": list(fake.models), "keys": "required"}
    with process(tmp_path, **settings) as gateway:
        with pytest.raises(openai.PermissionDeniedError, match="needs a key with the scope image:generate"):
            draw(gateway, other, 1)
        assert draw(gateway, key, 3) == 3
        eventually(lambda: rows(path, "select * from used") != [], 60, "it was not written")
        gateway.process.kill()
        gateway.process.wait(30)
    asked = len(fake.asked)
    with process(tmp_path, **settings) as gateway:
        with pytest.raises(openai.RateLimitError, match="this takes 2 images; of 4 a day, 3 are used") as refused:
            draw(gateway, key, 2)
        assert refused.value.code == "insufficient_quota"
        assert refused.value.response.headers["x-should-retry"] == "false"
        assert len(fake.asked) == asked, "a model was asked all the same"
        assert draw(gateway, key, 1) == 1
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0
    found = rows(path, f"select route, status, images from audit where key_id='{stored.id}' order by started")
    assert found == [("/v1/images/generations", status, images) for status, images in ((200, 3), (429, 0), (200, 1))]
    assert rows(path, "select key_id, unit, amount from used") == [(stored.id, "images", 4)]
    assert sound(path)


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("database", "said"),
    [
        (
            "sqlite:////proc/none/a.db",
            "/proc/none/a.db cannot be made (No such file or directory)",
        ),
        (
            "postgresql://h/d",
            "postgresql is not known; wanted: sqlite:///FOLDER/FILE or mysql",
        ),
    ],
)
def test_a_database_that_cannot_be_used_ends_a_start_with_its_reason(tmp_path: Path, database: str, said: str) -> None:
    (tmp_path / "gateway.toml").write_text(f'port = 0\nrun_dir = "{tmp_path}"\ndatabase = "{database}"\n')
    command = [sys.executable, "-m", "gateway", "--settings", str(tmp_path / "gateway.toml")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: setting database: {said}")
    assert "Traceback" not in ended.stderr
