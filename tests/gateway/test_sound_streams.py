"""Sound of a real model through the gateway: heard by `try`, read slowly, and not read at all."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from benchmarks.server import eventually
from serving.__main__ import main
from tests.gateway.raw import connected, head_of, many, request, to_the_end
from tests.support.gateway_server import Front

pytestmark = pytest.mark.server
STREAM = {"seed": 3, "label": "4", "seconds": 2, "format": "pcm", "stream": True}
PIECE = 2048  # bytes: an eighth of a second


def whole(front: Front, **params: object) -> bytes:
    answer = front.caller.ask("/api/generate/voice", {**STREAM, "stream": False, **params})
    assert answer.status == "200", answer.body
    return answer.body


def test_try_saves_a_file_to_play_and_a_picture_of_it(front: Front, tmp_path: Path) -> None:
    assert main(["try", "voice", "--seed", "3", "--run-dir", str(front.server.run_dir), "--out", str(tmp_path)]) == 0
    wave, rate = soundfile.read(tmp_path / "voice.wav")
    assert rate == 8000
    assert len(wave) > 0
    with Image.open(tmp_path / "voice.png") as picture:
        assert picture.size[0] > 300


def test_a_stream_that_is_read_slowly_is_whole_and_holds_up_nobody(front: Front) -> None:
    with front.unshaken(), connected(front.caller.port, receive_buffer=4096) as slow:
        slow.sendall(request("/api/generate/voice", STREAM, "Connection: close"))
        front.caller.sent += 1
        status, headers, data = head_of(slow)
        assert (status, headers["content-type"]) == (200, "audio/pcm; rate=8000; channels=1; encoding=s16le")
        for _ in itertools.count():
            piece = slow.recv(PIECE)
            if not piece:
                break
            data += piece
            assert front.caller.ask("/api/generate/tiny", {"seed": 1}).status == "200"  # between two pieces
    assert unchunked(data) == whole(front)


def test_streams_that_nobody_reads_are_ended(front: Front) -> None:
    """More sound than buffers take, for readers who never come: what is computed for them is given up."""
    silent = {**STREAM, "seconds": 30, "format": "wav", "encoding": "float", "sample_rate": 48000}
    with (
        front.unshaken(),
        many(front.caller.port, 3, request("/api/generate/voice", silent), receive_buffer=4096) as connections,
    ):
        front.caller.sent += 3
        eventually(lambda: held(front) == 3, 60, "the model did not begin")
        eventually(lambda: held(front) == 0, 120, "the model computes for nobody")
        for connection in connections:
            assert len(to_the_end(connection)) < 30 * 48000 * 4


def held(front: Front) -> int:
    health = front.server.control("voice", "health")
    return int(health["in_flight"]) + int(health["queued"])


def unchunked(data: bytes) -> bytes:
    """The bytes of chunks (RFC 9112, 7.1)."""
    found = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        found += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]
    return found
