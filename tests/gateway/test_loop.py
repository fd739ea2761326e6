"""Nothing that blocks happens on the event loop: one such call would stop everybody."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from tests.gateway.clients import HELLO, client
from tests.gateway.conftest import eventually, running, settings_for
from tests.gateway.plain import ASK, plainly
from tests.support.accounts import store_at
from tests.support.fake_upstream import FakeUpstream
from tests.support.pictures import encoded, gradient

BLOCKING = {
    "open",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "sqlite3.connect",
    "subprocess.Popen",
    "os.listdir",
    "os.scandir",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "fcntl.flock",
}
found: list[str] = []
watching = False
installed = False


def _hook(event: str, arguments: object) -> None:
    if watching and event in BLOCKING and asyncio._get_running_loop() is not None:
        frame, where = sys._getframe(1), ""
        for _ in range(8):
            where += f"\n  {frame.f_code.co_filename}:{frame.f_lineno}"
            if frame.f_back is None:
                break
            frame = frame.f_back
        if "importlib" not in where:  # of a module's first import
            found.append(f"{event} {arguments!r}{where}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """Calls that block, made on a running event loop. A hook stays for ever, so there is one, which is quiet else."""
    global watching, installed  # noqa: PLW0603
    if not installed:
        sys.addaudithook(_hook)
        installed = True
    found.clear()
    watching = True
    try:
        yield found
    finally:
        watching = False


def test_a_call_that_blocks_would_be_seen(tmp_path: Path) -> None:
    async def work() -> None:
        (tmp_path / "a").write_text("b")
        (tmp_path / "a").unlink()

    with watched() as calls:
        (tmp_path / "c").write_text("d")
        asyncio.run(work())
    assert [call.split()[0] for call in calls] == ["open", "os.remove"]


def test_no_request_blocks_the_loop(fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.models.REFRESH_SECONDS", 0.05)
    with plainly(settings_for(fake, tmp_path, log_level="info"), monkeypatch) as gateway:

        def everything() -> None:
            assert gateway.post("/plain/drawn", {"seed": 7}).status == 200
            assert gateway.post("/plain/chat", {**ASK, "stream": True}).status == 200
            assert gateway.post("/plain/drawn", {"seed": -1}).status == 400
            assert gateway.post("/plain/nothing", {}).status == 404
            for path in ("/healthz", "/readyz", "/metrics"):
                assert gateway.get(path).status == 200
            assert gateway.get("/plain/drawn").status == 405

        everything()
        with watched() as calls:
            looked = len(fake.raw)
            everything()
            eventually(lambda: len(fake.raw) > looked + 30, 30, "it does not look at the models")
    assert not calls, "\n".join(calls)


def test_no_route_blocks_the_loop(fake: FakeUpstream, tmp_path: Path) -> None:
    """The same of the routes behind the door, with keys, uploads, results and jobs."""
    store = store_at(tmp_path / "gateway.db")
    key, _ = store.create("alice")
    store.engine.dispose()
    picture = encoded(gradient(32, 32), "png")
    voices = {"alloy": {"label": "7"}}
    settings = settings_for(fake, tmp_path, keys="required", voices=voices, log_level="info")
    with (
        running(settings) as gateway,
        client(gateway, key) as known,
        client(gateway, key[:-1]) as unknown,
    ):

        def everything() -> None:
            with pytest.raises(openai.AuthenticationError):
                unknown.models.list()
            assert len(known.models.list().data) == len(fake.models)
            assert known.images.generate(model="drawn", prompt="", n=2).data
            assert known.images.generate(model="drawn", prompt="", response_format="url").data[0].url
            assert known.images.edit(model="altered", prompt="", image=picture).data
            assert list(known.chat.completions.create(model="chat", messages=HELLO, stream=True))
            assert known.completions.create(model="told", prompt="It").choices
            assert known.responses.create(model="told", input="It").output_text
            assert list(known.responses.create(model="chat", input="hello", stream=True))
            assert known.audio.speech.create(model="digits", input="7", voice="alloy").content
            headers = {"Authorization": f"Bearer {key}"}
            assert gateway.post("/api/generate/drawn", {"seed": 7}, headers=headers).status == 200
            outputs = [{"name": "pixels"}, {"name": "image", "parameters": {"binary_data": True}}]
            assert gateway.post("/v2/models/drawn/infer", {"outputs": outputs}, headers=headers).status == 200
            assert gateway.get("/v2/models/drawn", headers=headers).status == 200
            job = gateway.post("/api/jobs/drawn", {"seed": 7}, headers=headers).json["id"]
            path = f"/api/jobs/{job}"
            eventually(lambda: gateway.get(path, headers=headers).json["status"] == "done", 30, "no end of the job")
            assert gateway.get(f"{path}/result", headers=headers).status == 200
            assert gateway.ask("DELETE", path, headers=headers).status in (200, 204)
            assert gateway.get("/openapi.json").status == 200
            assert gateway.get("/docs").status == 200

        everything()
        with watched() as calls:
            everything()
    # A file of the spool, which lies in memory, is removed at once.
    blocking = [call for call in calls if not call.startswith("os.remove")]
    assert not blocking, "\n".join(blocking)
