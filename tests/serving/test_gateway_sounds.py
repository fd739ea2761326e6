"""Speech through the gateway, before a real engine that says digits."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator

import pytest
import soundfile

from gateway.settings import Settings
from tests.conftest import made
from tests.gateway.conftest import Gateway
from tests.gateway.conftest import running as gateway_running
from tests.gateway.media import error, official
from tests.serving.conftest import running

pytestmark = [pytest.mark.server, pytest.mark.slow]
PATH = "/v1/audio/speech"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "model").mkdir()
    archive = made(folder / "model", "wavegan", "digits", ("onnxruntime",)).archive
    with running(archive.parent, folder / "run") as server:
        settings = Settings(
            port=0,
            run_dir=server.run_dir,
            spool=folder / "spool",
            database=f"sqlite:///{folder}/gateway.db",
            voices={"alloy": {}, "seven": {"label": "7"}},
            log_level="error",
        )
        with gateway_running(settings) as found:
            yield found


def test_every_format_decodes_to_what_was_asked_for(gateway: Gateway) -> None:
    rate = gateway.get("/api/models/digits").json["limits"]["rate"]
    length: int | None = None
    for kind in ("wav", "flac", "opus", "mp3"):
        options = {"response_format": kind, "extra_body": {"seed": 7}}
        with official(gateway.url) as client:
            found = client.audio.speech.create(model="digits", input="4 2", voice="alloy", **options)  # type: ignore[arg-type]
        samples, found_rate = soundfile.read(io.BytesIO(found.content))
        assert found_rate == rate
        length = length or len(samples)
        assert len(samples) == length or (kind == "mp3" and len(samples) > length)  # with the encoder's own silence
    plain = gateway.post(PATH, {"model": "digits", "input": "4 2", "response_format": "pcm", "seed": 7})
    assert plain.headers["content-type"].startswith("audio/pcm; rate=24000")
    assert length is not None
    assert len(plain.body) // 2 == -(-length * 24_000 // rate)


def test_events_hold_the_samples_of_the_whole_file(gateway: Gateway) -> None:
    body = {"model": "digits", "input": "4 2", "seed": 7, "response_format": "pcm"}
    whole = gateway.post(PATH, body).body
    lines = gateway.post(PATH, {**body, "stream_format": "sse"}).body.decode().split("\n\n")
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert b"".join(base64.b64decode(event["audio"]) for event in deltas) == whole
    assert done["type"] == "speech.audio.done"
    assert done["usage"] == {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}


def test_what_is_not_said_is_named(gateway: Gateway) -> None:
    status, param, message = error(gateway.post(PATH, {"model": "digits", "input": "Hello"}))
    assert (status, param) == (400, "input")
    assert "text holds 'H', which this model does not say" in message
    assert "model digits says: digits" in message
    _, param, _ = error(gateway.post(PATH, {"model": "digits", "input": "4", "voice": "seven"}))
    assert param == "input"  # a class and a text contradict each other
    assert gateway.post(PATH, {"model": "digits", "input": "", "voice": "seven"}).status == 200
