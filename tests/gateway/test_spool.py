"""The spool: what arrives lies in a private folder, bounded, and goes with the answer it was for."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from gateway.app import build
from gateway.arrival import PIECE, Kind
from gateway.errors import ApiError
from gateway.settings import Settings, SettingsError
from gateway.spool import Cleared, Kept, Spool, Spooled
from gateway.spool_folder import Folder, FolderError, default_folder
from serving import spool as launcher_spool
from tests.conftest import ROOT
from tests.support.pictures import encoded, gradient, jpeg_head, jpeg_segment, png_head
from tests.support.proxy import in_loop

PNG = encoded(gradient(40, 30))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def save(
    where: Spool | Kept, stream: AsyncIterator[bytes], max_bytes: int, kind: Kind = "image", **how: Any
) -> Spooled:
    """A stream as a file of the spool, or of those that go together; what fails leaves nothing."""
    arrival = where.arrival(kind, max_bytes, **how)
    try:
        async for data in stream:
            await arrival.write(data)
        return await arrival.done()
    except BaseException:
        arrival.discard()
        raise


def remove(spool: Spool, found: Spooled) -> None:
    """Discard a file, twice, which is no error."""
    (arrival,) = [arrival for arrival in spool._there if arrival.name == found.name]
    arrival.discard()
    arrival.discard()


def files(spool: Spool) -> list[Path]:
    return [path for path in spool.folder.iterdir() if path.suffix != ".lock"]


async def refused(spool: Spool, data: bytes, **options: Any) -> ApiError:
    limits = {"max_bytes": 1 << 20, "kind": "image", **options}
    with pytest.raises(ApiError) as caught:
        await save(spool, pieces(data), **limits)
    assert (files(spool), spool.bytes, spool.files) == ([], 0, 0), "something was left"
    return caught.value


@in_loop
async def _saved(spool: Spool) -> None:
    found = await save(spool, pieces(PNG), 1 << 20, max_pixels=1200)
    assert found == Spooled(found.name, hashlib.sha256(PNG).hexdigest(), len(PNG), "image/png", 40, 30)
    (path,) = files(spool)
    assert path.name == found.name and path.read_bytes() == PNG
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    assert found.reference() == {
        "spooled": {"name": found.name, "sha256": found.sha256, "bytes": len(PNG)},
    }
    assert (spool.bytes, spool.files) == (len(PNG), 1)
    remove(spool, found)
    assert (files(spool), spool.bytes, spool.files) == ([], 0, 0)


def test_a_picture_is_a_private_file_with_its_digest_until_it_is_removed(spool: Spool) -> None:
    _saved(spool)


def test_names_are_never_the_same_and_of_the_callers_choosing(spool: Spool) -> None:
    async def run() -> set[str]:
        return {(await save(spool, pieces(PNG), 1 << 20)).name for _ in range(50)}

    names = asyncio.run(run())
    assert len(names) == 50
    assert all(len(name.rpartition(".")[2]) == 32 for name in names)  # 128 bits that nobody guesses


def test_a_long_upload_is_written_in_pieces_and_kept_in_no_memory(spool: Spool) -> None:
    data = jpeg_head(40, 30, before=jpeg_segment(0xE1, bytes(60_000))) + os.urandom(5 * PIECE)

    async def run() -> Spooled:
        arrival = spool.arrival("image", 1 << 24)
        async for piece in pieces(data, 50_000):
            await arrival.write(piece)
            assert len(arrival._waiting) < PIECE and len(arrival._head) <= 100_000
        return await arrival.done()

    found = asyncio.run(run())
    assert (found.sha256, found.content_type) == (hashlib.sha256(data).hexdigest(), "image/jpeg")
    assert (spool.folder / found.name).read_bytes() == data


def test_too_many_bytes_are_refused_while_they_arrive(spool: Spool) -> None:
    seen = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal seen
        yield PNG
        while True:
            seen += 1
            yield bytes(50_000)

    async def run() -> ApiError:
        with pytest.raises(ApiError) as caught:
            await save(spool, endless(), 400_000, what="mask")
        return caught.value

    error = asyncio.run(run())
    assert (error.status, error.param) == (413, "mask")
    assert "mask has more than 400000 bytes" in error.message
    assert seen == 8, "it was read on after it was too long"
    assert files(spool) == []


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 400, "image is empty"),
        (b"GIF89a" + bytes(3000), 400, "no PNG, JPEG or WebP by its first bytes; send a PNG, JPEG or WebP"),
        (PNG[:20], 400, "ends before"),
        (b"\x89PN", 400, "no picture that is read here"),
        (png_head(20_000, 20_000) + bytes(5000), 413, "20000 x 20000 = 400000000 pixels, at most 1000000"),
        (jpeg_head(1001, 1000) + bytes(5000), 413, "1001 x 1000"),
    ],
)
def test_what_is_no_picture_of_that_size_is_refused(spool: Spool, data: bytes, status: int, words: str) -> None:
    error = asyncio.run(refused(spool, data, max_pixels=1_000_000))
    assert (error.status, error.param) == (status, "image")
    assert words in error.message


def test_a_body_of_json_is_not_looked_at(spool: Spool) -> None:
    body = b'{"text": "' + b"x" * 300_000 + b'"}'

    async def run() -> tuple[Spooled, bytes]:
        with Kept(spool) as kept:
            found = await kept.body(body)
            return found, (spool.folder / found.name).read_bytes()

    found, there = asyncio.run(run())
    assert (found.content_type, found.bytes, found.width) == ("application/json", len(body), None)
    assert there == body
    assert files(spool) == []


def test_all_uploads_together_are_bounded_and_room_comes_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_total=len(PNG) + 10, max_files=1)

    async def run() -> None:
        first = await save(spool, pieces(PNG), 1 << 20)
        with pytest.raises(ApiError, match="1 uploads are being worked on, which is all that is taken") as caught:
            await save(spool, pieces(PNG), 1 << 20)
        assert (caught.value.status, caught.value.code) == (503, "overloaded") and caught.value.retry_after
        remove(spool, first)
        with pytest.raises(ApiError, match=f"at most {len(PNG) + 10} are kept"):
            await save(spool, pieces(PNG + bytes(11)), 1 << 20)
        assert (spool.bytes, spool.files) == (0, 0)
        await save(spool, pieces(PNG + bytes(10)), 1 << 20)

    asyncio.run(run())
    spool.close()


def test_one_caller_has_a_share_of_files_and_of_bytes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_total=4 * len(PNG), max_files=4)

    async def crowded() -> None:
        mine, theirs = Kept(spool, "key_1"), Kept(spool, "key_2")
        await save(mine, pieces(PNG), 1 << 20)
        with pytest.raises(ApiError, match=f"the uploads of key_1 have {len(PNG)} bytes, and one caller's share is "):
            await mine.body(b" " * (len(PNG) + 1))
        mine.close()
        for kept in (mine, mine, theirs):
            await save(kept, pieces(PNG), 1 << 20)
        with pytest.raises(ApiError, match="key_1 has 2 uploads that are being worked on, one caller's share; send it"):
            mine.arrival("image", 1 << 20)
        await save(theirs, pieces(PNG), 1 << 20)
        for kept in (mine, theirs):
            kept.close()

    asyncio.run(crowded())
    assert (spool.files, spool.bytes) == (0, 0)
    assert not spool._files_of and not spool._bytes_of, "callers who have nothing here are remembered"
    spool.close()


def test_a_full_disk_is_told_and_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def full(descriptor: int, data: Any) -> int:
        if len(data) > 100:
            return real(descriptor, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    error = asyncio.run(refused(spool, PNG[:150]))
    assert (error.status, error.code) == (503, "overloaded")
    assert "no room for image (No space left on device)" in error.message


def test_an_upload_whose_caller_leaves_is_removed_when_its_write_is_over(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, real, order = threading.Event(), threading.Event(), os.write, []

    def slow(descriptor: int, data: Any) -> int:
        begun.set()
        go_on.wait(30)
        order.append("written")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    remove = Folder.remove

    def removed(folder: Folder, name: str) -> None:
        order.append("removed")
        remove(folder, name)

    monkeypatch.setattr(Folder, "remove", removed)

    async def run() -> None:
        task = asyncio.create_task(save(spool, pieces(PNG), 1 << 20))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # again, as a caller's scope does
        asyncio.get_running_loop().call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert order == ["written", "removed"]
    assert (files(spool), spool.bytes, spool.files) == ([], 0, 0)


class Broken(Exception):
    pass


@pytest.mark.parametrize("end", ["whole", "error", "departure", "before"])
def test_files_go_when_the_answer_is_out_however_it_ends(spool: Spool, end: str) -> None:
    there: list[int] = []
    asked: list[bool] = []

    async def answer(request: Request) -> StreamingResponse:
        await save(request.state.kept, pieces(PNG), 1 << 20)
        there.append(len(files(spool)))
        if end == "before":
            raise Broken

        async def body() -> AsyncIterator[bytes]:
            yield b"one"
            there.append(len(files(spool)))
            if end == "error":
                raise Broken
            yield b"two"

        return StreamingResponse(body())

    app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(Cleared)])
    app.state.spool = spool
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "app": app}

    async def receive() -> dict[str, Any]:
        if asked:
            await asyncio.Event().wait()
        asked.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if end == "departure" and message.get("body") == b"two":
            raise OSError("the caller has left")

    async def run() -> None:
        if end == "whole":
            await app(scope, receive, send)
        else:
            with pytest.raises(Exception):  # noqa: B017, PT011 (each in its own way)
                await app(scope, receive, send)

    asyncio.run(run())
    assert there and set(there) == {1}, "the file was not there while the answer was made"
    assert (files(spool), spool.bytes, spool.files) == ([], 0, 0)


def test_a_job_keeps_the_files_of_its_request(spool: Spool) -> None:
    async def run() -> Kept:
        with Kept(spool) as kept:
            await save(kept, pieces(PNG), 1 << 20)
            return kept.handed_over()

    job = asyncio.run(run())
    assert len(files(spool)) == 1
    job.close()
    assert files(spool) == []


def test_what_a_killed_gateway_left_is_swept_and_a_living_ones_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from gateway.spool import Kept, Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "asyncio.run(Kept(spool).body(b'{}'))\n"
        "print('there', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "there\n"
        (folder / "notes.txt").write_text("somebody's")
        beside = Spool(folder)
        assert len(list(folder.iterdir())) == 4  # a file and a lock of the other, one's own lock, the notes
        other.kill()
        other.wait()
        beside._folder.sweep()
        assert {path.suffix for path in folder.iterdir()} == {".lock", ".txt"}
        beside.close()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_folder_that_others_can_enter_or_that_is_a_link_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    with pytest.raises(FolderError, match=r"mode 0755, wanted this user .* with 0700.*chmod 700"):
        Spool(open_to_all)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(FolderError, match="no folder that uploads can lie in"):
        Spool(link)
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="no folder that uploads can lie in"):
        Spool(tmp_path / "file")


def test_a_folder_that_was_cleaned_away_is_made_again(spool: Spool) -> None:
    shutil.rmtree(spool.folder)

    async def run() -> Spooled:
        return await save(spool, pieces(PNG), 1 << 20)

    found = asyncio.run(run())
    assert (spool.folder / found.name).read_bytes() == PNG
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700


def test_the_default_is_in_memory_where_there_is_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_folder() == tmp_path / "atelier-spool"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_folder().name == f"atelier-spool-{os.geteuid()}"


@pytest.mark.parametrize("runtime", ["there", "missing", None])
@pytest.mark.parametrize("memory", [True, False])
def test_the_launcher_s_default_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str | None, memory: bool
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if runtime is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / runtime))
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: may(path, mode) and (memory or str(path) != "/dev/shm"))
    assert default_folder() == launcher_spool.default_folder()


def test_a_gateway_whose_spool_others_can_enter_does_not_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(SettingsError, match=r"spool cannot be used: .* with mode 0755, wanted .* 0700"):
        build(Settings(spool=tmp_path))
