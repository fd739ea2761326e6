"""Sounds as OpenAI's clients ask for them."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from handlers.params import ParamSpec
from tests.gateway.conftest import eventually
from tests.gateway.media import VOICES, Media, answering, error, media, receipt
from tests.support.fake_documents import SEED, SOUND_TYPES, SOUNDS, STREAM, document
from tests.support.fake_upstream import refused

PATH = "/v1/audio/speech"
KEYS = ("C", "G", "Am")
MUSIC = document(
    "music",
    "windowed_audio",
    (
        ParamSpec("key", "string", "key of the piece", "C", choices=KEYS),
        ParamSpec("tempo", "number", "of the piece", 100, 80, 150),
        ParamSpec("seconds", "number", "how long", None, 0.01, 120),
        SEED,
        *(spec for spec in SOUNDS if spec.name in ("n", "format", "encoding", "sample_rate")),
        STREAM,
    ),
    SOUND_TYPES,
    {"key": "C"},
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    folder = tmp_path_factory.mktemp("speech")
    with media(folder, MUSIC, voices=VOICES, ignore_fields=("backend",), aliases={"tts-1": "digits"}) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "content_type", "magic", "params"),
    [
        (None, "audio/mpeg", b"ID3", {"format": "mp3", "stream": True}),
        ("mp3", "audio/mpeg", b"ID3", {"format": "mp3", "stream": True}),
        ("opus", "audio/ogg; codecs=opus", b"OggS", {"format": "opus", "stream": True}),
        ("flac", "audio/flac", b"fLaC", {"format": "flac"}),
        ("wav", "audio/wav", b"RIFF", {"format": "wav"}),
        (
            "pcm",
            "audio/pcm; rate=24000; channels=1; encoding=s16le",
            bytes(4),
            {"format": "pcm", "sample_rate": 24_000, "stream": True},
        ),
    ],
)
def test_every_format_has_its_bytes_and_its_type(
    served: Media, kind: Any, content_type: str, magic: bytes, params: dict[str, Any]
) -> None:
    options = {} if kind is None else {"response_format": kind}
    found = served.client.audio.speech.create(model="tts-1", input="4 2", voice="alloy", **options)
    assert found.response.headers["content-type"] == content_type
    assert found.content.startswith(magic)
    assert served.asked == {"text": "4 2", **params}
    assert found.response.headers["x-atelier-receipt"]


def test_pcm_is_of_24_kilohertz_as_every_client_takes_it_for(served: Media) -> None:
    found = served.client.audio.speech.create(model="digits", input="7", voice="alloy", response_format="pcm")
    assert len(found.content) == 2 * 24_000 // 10  # the fake says a tenth of a second
    served.client.audio.speech.create(
        model="digits", input="7", voice="alloy", response_format="pcm", extra_body={"sample_rate": 16_000}
    )
    assert served.asked["sample_rate"] == 16_000


def test_a_whole_wav_says_how_long_it_is_and_streams_where_that_is_asked(served: Media) -> None:
    found = served.client.audio.speech.create(model="digits", input="7", voice="alloy", response_format="wav")
    with wave.open(io.BytesIO(found.content)) as file:
        assert (file.getnframes(), file.getframerate()) == (1600, 16_000)
    assert "stream" not in served.asked
    served.client.audio.speech.create(
        model="digits", input="7", voice="alloy", response_format="wav", stream_format="audio"
    )
    assert served.asked["stream"] is True


def test_a_stream_arrives_as_it_is_made(served: Media) -> None:
    served.fake.hold()
    try:
        with served.client.audio.speech.with_streaming_response.create(
            model="digits", input="4 2", voice="alloy", response_format="pcm"
        ) as found:
            pieces = found.iter_bytes()
            first = next(pieces)  # while the model holds the rest back
            assert len(first) == 1000
            assert found.headers["x-accel-buffering"] == "no"
            served.fake.release()
            assert len(first) + sum(map(len, pieces)) == 4800
    finally:
        served.fake.release()


def test_a_caller_who_leaves_a_stream_ends_the_work(served: Media) -> None:
    before = len(served.fake.cancelled)
    served.fake.hold()
    try:
        with served.client.audio.speech.with_streaming_response.create(
            model="digits", input="4 2", voice="alloy"
        ) as found:
            next(found.iter_bytes())
        eventually(lambda: len(served.fake.cancelled) > before, 20, "nobody told the model")
    finally:
        served.fake.release()


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in body.decode().split("\n\n") if line]


def test_events_hold_the_same_bytes_and_end_with_the_usage(served: Media) -> None:
    model = served.fake.models["digits"]
    model.reply = answering([b"ab", b"cde"], "audio/mpeg", samples=20_000, sample_rate=16_000, n=1)
    try:
        body = {"model": "digits", "input": "4 2", "stream_format": "sse"}
        reply = served.gateway.post(PATH, body)
    finally:
        model.reply = None
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert receipt(reply)["params"]["samples"] == 20_000
    *deltas, done = events(reply.body)
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in deltas) == b"abcde"
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    }


def test_events_of_a_sound_that_breaks_off_end_in_an_error(served: Media) -> None:
    model = served.fake.models["digits"]
    whole = answering([b"ab", b"cd"], "audio/mpeg")
    model.reply = lambda asked: dataclasses.replace(whole(asked), breaks=True)
    try:
        reply = served.gateway.post(PATH, {"model": "digits", "input": "4", "stream_format": "sse"})
        with pytest.raises(openai.APIConnectionError):
            served.client.audio.speech.create(model="digits", input="4", voice="alloy")
    finally:
        model.reply = None
    last = events(reply.body)[-1]
    assert last["type"] == "error"
    assert last["error"]["code"] == "overloaded"
    assert "broke off" in last["error"]["message"]


def test_a_text_that_the_model_does_not_say_is_refused_by_name(served: Media) -> None:
    model = served.fake.models["digits"]
    model.reply = lambda _: refused(400, "text holds 'H', which this model does not say", "text")
    try:
        with pytest.raises(openai.BadRequestError) as told:
            served.client.audio.speech.create(model="digits", input="Hello", voice="alloy")
    finally:
        model.reply = None
    body: Any = told.value.body
    assert body["param"] == "input"
    assert body["message"] == (
        "text holds 'H', which this model does not say (model digits says: digits that are said one after the other)"
    )


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"input": None}, "input", "input is missing; model digits says: digits"),
        ({"input": ""}, "input", "input is empty"),
        ({"input": ["4"]}, "input", "wanted a string"),
        ({"input": "4" * 4097}, "input", "at most 4096"),
        ({"response_format": "aac"}, "response_format", "mp3, opus, flac, wav, pcm"),
        ({"format": "wav", "response_format": "mp3"}, "format", "leave format out"),
        ({"speed": 1.5}, "speed", "has one speed alone"),
        ({"speed": 5}, "speed", "from 0.25 to 4"),
        ({"speed": "1"}, "speed", "from 0.25 to 4"),
        ({"instructions": "softly"}, "instructions", "leave it out"),
        ({"stream": True}, "stream", "leave it out"),
        ({"stream_format": "wav"}, "stream_format", "audio, sse"),
        ({"voice": "nova"}, "voice", "model digits has alloy, seven"),
        ({"voice": {"name": "alloy"}}, "voice", "model digits has alloy, seven"),
        ({"voice": "minor"}, "voice", "model digits has alloy, seven"),
        ({"text": "4"}, "text", "leave text out"),
        ({"n": 2}, "n", "speech is one sound"),
        ({"pitch": 2}, "pitch", "known are model, input, voice"),
        ({"model": "drawn"}, "model", "makes image, not sound"),
        ({"sample_rate": 1}, "sample_rate", "8000"),
    ],
)
def test_what_is_not_taken_is_named(served: Media, fields: dict[str, Any], field: str, told: str) -> None:
    status, param, message = error(served.gateway.post(PATH, {"model": "digits", "input": "4", **fields}))
    assert (status, param) == (400, field)
    assert told in message


@pytest.mark.parametrize(
    "fields", [{"speed": 1}, {"speed": 1.0}, {"instructions": None}, {"backend": "x"}, {"voice": {"id": "alloy"}}]
)
def test_what_changes_nothing_is_taken(served: Media, fields: dict[str, Any]) -> None:
    assert served.gateway.post(PATH, {"model": "digits", "input": "4", **fields}).status == 200
    assert served.asked == {"text": "4", "format": "mp3", "stream": True}


def test_a_voice_stands_for_parameters(served: Media) -> None:
    assert served.gateway.post(PATH, {"model": "digits", "input": "", "voice": "seven"}).status == 200
    assert served.asked == {"label": "7", "format": "mp3", "stream": True}
    assert served.gateway.post(PATH, {"model": "music", "voice": "minor", "seconds": 2}).status == 200
    assert served.asked == {"key": "Am", "seconds": 2, "format": "mp3", "stream": True}
    assert served.gateway.post(PATH, {"model": "music", "input": "", "voice": "G"}).status == 200
    assert served.asked["key"] == "G"


def test_speed_is_tempo_where_there_is_one(served: Media) -> None:
    assert served.gateway.post(PATH, {"model": "music", "speed": 1.25}).status == 200
    assert served.asked["tempo"] == 125
    assert served.gateway.post(PATH, {"model": "music", "tempo": 90, "speed": 1.5}).status == 200
    assert served.asked["tempo"] == 135
    _, param, message = error(served.gateway.post(PATH, {"model": "music", "speed": 2}))
    assert param == "speed"
    assert "0.8 to 1.5 times its usual tempo" in message


def test_a_model_without_text_says_none(served: Media) -> None:
    _, param, message = error(served.gateway.post(PATH, {"model": "music", "input": "la la"}))
    assert param == "input"
    assert message == 'model music says no text: send "" and choose by its parameters (models that say one: digits)'


def test_accept_chooses_the_format_unless_the_request_does(served: Media) -> None:
    body = {"model": "digits", "input": "4"}
    assert served.gateway.post(PATH, body, headers={"Accept": "audio/wav"}).body.startswith(b"RIFF")
    assert served.gateway.post(PATH, body, headers={"Accept": "audio/flac"}).body.startswith(b"fLaC")
    assert served.gateway.post(PATH, body, headers={"Accept": "audio/*"}).body.startswith(b"ID3")
    named = {**body, "response_format": "flac"}
    assert served.gateway.post(PATH, named, headers={"Accept": "audio/wav"}).body.startswith(b"fLaC")


def test_voices_and_models_are_listed_as_applications_ask(served: Media) -> None:
    found = served.gateway.get("/v1/audio/voices").json
    assert found["object"] == "list"
    assert found["voices"] == found["data"]
    by_name = {voice["id"]: voice["models"] for voice in found["voices"]}
    assert by_name == {
        "alloy": ["digits", "music"],
        "seven": ["digits"],
        "minor": ["music"],
        "C": ["music"],
        "G": ["music"],
        "Am": ["music"],
    }
    one = served.gateway.get("/v1/audio/voices?model=digits").json["voices"]
    assert [voice["id"] for voice in one] == ["alloy", "seven"]
    assert [model["id"] for model in served.gateway.get("/v1/audio/models").json["models"]] == ["digits", "music"]
    assert served.gateway.get("/v1/audio/voices?model=none").status == 404


def test_seconds_of_sound_are_counted_and_used_up(tmp_path: Path) -> None:
    with media(tmp_path, limits={"audio_seconds_a_day": 4}) as served:
        served.fake.models["digits"].reply = answering(
            [b"ID3"], "audio/mpeg", samples=84_000, sample_rate=24_000, resampled_from=16_000, n=1
        )
        assert served.gateway.post(PATH, {"model": "digits", "input": "4"}).status == 200  # 5.25 seconds
        reply = served.gateway.post(PATH, {"model": "digits", "input": "4"})
        assert reply.status == 429
        assert "5.25 are used" in reply.json["error"]["message"]
