"""Results that are kept: bounded, fair, gone in time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from gateway import results as results_module
from gateway.errors import ApiError
from gateway.results import Results
from gateway.spool_folder import Folder


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def files(folder: Path) -> int:
    return len([file for file in folder.iterdir() if file.suffix != ".lock"])


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    async def work() -> None:
        results = Results(Folder(tmp_path / "r"), 100, 60)
        kept = await results.keep("ann", b"abc", "image/png", "receipt")
        found = results.find(kept.token)
        assert found is kept
        assert (kept.content_type, kept.receipt, results.bytes) == ("image/png", "receipt", 3)
        assert await results.read(kept) == b"abc"
        assert (tmp_path / "r" / kept.file).stat().st_mode & 0o777 == 0o600
        results.drop(kept.token)
        results.drop(kept.token)
        assert results.find(kept.token) is None
        assert await results.read(kept) is None
        assert (results.bytes, files(tmp_path / "r")) == (0, 0)
        await results.keep("ann", b"abc", "image/png", None)
        results.close()
        assert list((tmp_path / "r").iterdir()) == []

    run(work())


def test_room_is_made_by_the_oldest_of_who_keeps_most(tmp_path: Path) -> None:
    async def work() -> None:
        results = Results(Folder(tmp_path / "r"), 100, 60)
        bob = await results.keep("bob", bytes(20), "image/png", None)
        first, second = [await results.keep("ann", bytes(30), "image/png", None) for _ in range(2)]
        third = await results.keep("ann", bytes(30), "image/png", None)
        assert [results.find(item.token) is not None for item in (bob, first, second, third)] == [
            True,
            False,
            True,
            True,
        ]
        assert results.bytes == 80
        with pytest.raises(ApiError, match="has 101 bytes, at most 100 are kept here"):
            await results.keep("bob", bytes(101), "image/png", None)
        assert results.bytes == 80
        results.close()

    run(work())


def test_their_number_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "MAX_FILES", 3)

    async def work() -> None:
        results = Results(Folder(tmp_path / "r"), 100, 60)
        kept = [await results.keep("ann", b"x", "image/png", None) for _ in range(5)]
        assert [results.find(item.token) is not None for item in kept] == [False, False, True, True, True]
        assert files(tmp_path / "r") == 3
        results.close()

    run(work())


def test_a_full_disk_is_a_503_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    async def work() -> None:
        results = Results(Folder(tmp_path / "r"), 100, 60)
        monkeypatch.setattr("gateway.results.os.fdopen", full)
        with pytest.raises(ApiError, match=r"no room for the result \(No space left on device\)") as told:
            await results.keep("ann", b"abc", "image/png", None)
        assert told.value.status == 503
        assert (results.bytes, files(tmp_path / "r")) == (0, 0)
        results.close()

    run(work())


def test_a_caller_who_leaves_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        results = Results(Folder(tmp_path / "r"), 100, 60)
        task = asyncio.create_task(results.keep("ann", b"abc", "image/png", None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(20):
            while files(tmp_path / "r") or results.bytes:
                await asyncio.sleep(0.01)
        results.close()

    run(work())
