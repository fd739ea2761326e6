"""Where a file comes from: signed here, signed and changed, marked alone, known to the history, or none of it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers.media.image import encode_image
from handlers.media.sound import SoundFile
from tests.gateway.conftest import Gateway, Reply
from tests.gateway.media import Media, answering, error, media
from tests.support.signatures import signature

TOOL = "Atelier drawn 0123456789ab"
RAMP = np.add.outer(np.arange(64) * 3, np.arange(64) % 17 * 4)
PIXELS = np.stack([RAMP, RAMP[::-1], RAMP.T], 2).astype(np.uint8)
SOUNDS = {"wav": "RIFF", "mp3": "ID3", "flac": "FLAC", "ogg": "Ogg", "opus": "Ogg"}


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    folder = tmp_path_factory.mktemp("checking")
    with media(folder, signature=signature(folder / "certificates"), verifications_a_minute=0) as made:
        plain = encode_image(PIXELS, "png", None, TOOL)
        made.fake.models["drawn"].reply = answering([plain], "image/png", seed=7)
        yield made


@pytest.fixture(scope="module")
def signed(checking: Media) -> bytes:
    """A signed image, once the history has it."""
    found = checking.gateway.post("/api/generate/drawn", {"seed": 7}).body
    assert checking.gateway.state.history.flush(20)
    return found


def ask(gateway: Gateway, data: bytes) -> Reply:
    return gateway.post("/api/provenance/verify", body=data, headers={"Content-Type": "application/octet-stream"})


def found(gateway: Gateway, data: bytes) -> Any:
    reply = ask(gateway, data)
    assert reply.status == 200, reply.body
    return reply.json


def sound(format: str) -> bytes:
    file = SoundFile(format, None, 16_000, "Atelier digits 0123456789ab", stream=False)
    file.write((np.sin(np.arange(8000) / 20) / 2).astype(np.float32))
    file.close()
    return file.take()


def test_a_file_that_was_signed_here_is_known_by_everything(checking: Media, signed: bytes) -> None:
    said = found(checking.gateway, signed)
    assert said["verdict"] == "made_here"
    c2pa = said["c2pa"]
    assert (c2pa["state"], c2pa["self_made"], c2pa["by_this_gateway"], c2pa["problems"]) == ("valid", True, True, [])
    assert c2pa["made"]["seed"] == 7
    assert said["marks"][0]["tool"] == TOOL
    assert said["marks"][0]["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    assert said["log"][0]["match"] == "digest" and said["log"][0]["model"] == "drawn"
    assert said["log"][0]["sha256"] == c2pa["made"]["sha256"]


def test_a_changed_pixel_breaks_the_signature_and_says_how(checking: Media, signed: bytes) -> None:
    broken = bytearray(signed)
    broken[-40] ^= 1
    said = found(checking.gateway, bytes(broken))
    assert said["c2pa"]["state"] == "invalid"
    assert said["c2pa"]["problems"] == ["assertion.dataHash.mismatch"]
    assert said["verdict"] != "made_here"


def test_a_picture_that_was_scaled_and_compressed_is_known_by_its_looks(checking: Media, signed: bytes) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(signed)).convert("RGB").resize((96, 96)).save(out, "JPEG", quality=80)
    said = found(checking.gateway, out.getvalue())
    assert (said["verdict"], said["c2pa"]["state"], said["marks"]) == ("looks_like_made_here", "absent", [])
    assert said["log"][0]["match"] == "looks" and said["log"][0]["distance"] <= 10


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_an_image_that_was_not_signed_is_known_by_its_mark(checking: Media, format: str) -> None:
    pixels = np.random.default_rng(5).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    said = found(checking.gateway, encode_image(pixels, format, None, "Atelier other 0123456789ab"))
    assert (said["verdict"], said["content_type"]) == ("generated", f"image/{format}")
    assert said["marks"][0]["tool"] == "Atelier other 0123456789ab"


@pytest.mark.parametrize("format", SOUNDS)
def test_a_sound_that_was_not_signed_is_known_by_its_mark(checking: Media, format: str) -> None:
    said = found(checking.gateway, sound(format))
    assert said["verdict"] == "generated"
    assert said["marks"][0]["place"].startswith(SOUNDS[format])


def test_a_photograph_and_a_text_are_unknown(checking: Media) -> None:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(9).integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(out, "JPEG")
    assert found(checking.gateway, out.getvalue())["verdict"] == "unknown"
    said = found(checking.gateway, "It was a dark and stormy night. 你好".encode())
    assert (said["verdict"], said["content_type"], said["c2pa"]) == ("unknown", "text/plain", {"state": "absent"})
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    answer = json.dumps({"choices": [], "digital_source_type": source}).encode()
    assert found(checking.gateway, answer)["verdict"] == "generated"


def test_the_official_client_reads_it(checking: Media, signed: bytes) -> None:
    check = checking.client.content_provenance_checks.create(file=("a.png", signed))
    assert check.object == "content_provenance_check" and check.created_at > 0
    (result,) = check.results
    assert result.type == "c2pa"
    assert (result.outcome, result.validation_state, result.model) == ("detected", "valid", "m")
    assert result.issuer == "self-made for trials"
    plain = checking.client.content_provenance_checks.create(file=("a.wav", sound("wav")))
    assert plain.results[0].type == "c2pa"
    assert (plain.results[0].outcome, plain.results[0].validation_state) == ("not_detected", "not_present")


LENIENT = "a box that is longer than all"  # it ends with its chunk, and what is signed is unchanged


def hostile(signed: bytes) -> dict[str, bytes]:
    store = signed.index(b"caBX")
    bomb = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452ffffffffffffffff0802000000") + bytes(8)
    return {
        "half": signed[: len(signed) // 2],
        "half a manifest": signed[: store + 200],
        "a huge chunk": signed[: store - 4] + b"\x7f\xff\xff\xff" + signed[store:],
        LENIENT: signed[: store + 4] + b"\xff\xff\xff\xff" + signed[store + 8 :],
        "a size that no picture has": bomb,
        "another format's first bytes": b"\xff\xd8\xff" + signed[3:],
        "a RIFF of nothing": b"RIFF\xff\xff\xff\xffWAVE" + b"C2PA\xff\xff\xff\xff" * 9,
        "a WAV of open size": b"RIFF\xff\xff\xff\xffWAVELIST\xff\xff\xff\xff",
        "an ID3 of everything": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(64),
        "FLAC without end": b"fLaC" + b"\x04\xff\xff\xff" * 50,
        "Ogg of nothing": b"OggS" + bytes(40),
        "JPEG of empty segments": b"\xff\xd8" + b"\xff\xe1\x00\x00" * 5000,
        "nested JSON": b"[" * 100_000,
        "one byte": b"\x00",
    }


def test_whatever_is_sent_is_answered_and_nothing_behind_it_dies(checking: Media, signed: bytes) -> None:
    for name, data in hostile(signed).items():
        reply = ask(checking.gateway, data)
        assert reply.status in (200, 400), (name, reply.body)
        if reply.status == 400:
            assert "cannot be examined" in reply.json["error"]["message"], name
        elif name != LENIENT:
            assert reply.json["verdict"] != "made_here", name
    assert found(checking.gateway, signed)["verdict"] == "made_here"


def test_a_file_that_ends_what_reads_it_is_a_400(checking: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.provenance.checking._ROOT", Path("/nowhere"))
    status, param, message = error(ask(checking.gateway, b"x"))
    assert (status, param) == (400, "file")
    assert "cannot be examined: what reads it gave up with code 1" in message


def test_an_empty_file_and_a_form_without_one_are_refused(checking: Media) -> None:
    assert error(ask(checking.gateway, b""))[2] == "file is empty; send a file"
    form = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = checking.gateway.post("/v1/content_provenance_checks", body=form, headers=headers)
    assert error(reply) == (400, "file", "the form has x, wanted one file in the field file")


def test_a_caller_may_ask_so_often_a_minute(tmp_path: Path) -> None:
    with media(tmp_path, verifications_a_minute=1) as made:
        assert ask(made.gateway, b"a text").status == 200
        reply = ask(made.gateway, b"a text")
        assert reply.status == 429 and int(reply.headers["retry-after"]) > 0
        assert "may send 1 requests a minute" in reply.json["error"]["message"]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "wav", "mp3", "flac"])
def test_the_profile_cn_adds_its_record_and_the_file_stays_the_same(tmp_path: Path, format: str) -> None:
    image = format in ("png", "jpeg", "webp")
    plain = encode_image(PIXELS, format, None, TOOL) if image else sound(format)
    kind = f"image/{format}" if image else f"audio/{'mpeg' if format == 'mp3' else format}"
    with media(tmp_path, profile="cn", producer='Studio "A" & B') as made:
        model, asked = ("drawn", {"seed": 7}) if image else ("digits", {"label": "7"})
        made.fake.models[model].reply = answering([plain], kind, seed=7)
        reply = made.gateway.post(f"/api/generate/{model}", asked)
        assert reply.headers["x-atelier-marking"] == "cn; aigc"
        said = found(made.gateway, reply.body)
    record = next(mark["aigc"] for mark in said["marks"] if "aigc" in mark)
    assert (record["Label"], record["ContentProducer"]) == ("1", 'Studio "A" & B')
    assert len(record["ProduceID"]) == 64
    assert any("digital_source_type" in mark for mark in said["marks"])
    if image:
        before, after = (Image.open(io.BytesIO(data)).tobytes() for data in (plain, reply.body))
        assert before == after


def test_base64_images_are_found_too(checking: Media) -> None:
    made = checking.client.images.generate(model="drawn", prompt="")
    assert made.data is not None
    assert found(checking.gateway, base64.b64decode(made.data[0].b64_json or ""))["c2pa"]["state"] == "valid"
