"""Signatures: what they say, of every format, and that the file below them is the one that the seed makes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from handlers.media.image import encode_image
from handlers.media.sound import SoundFile
from tests.gateway.media import Media, answering, error, media, picture
from tests.support.signatures import manifest_of, receipt_of, signature, without_manifest

PIXELS = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
WAVE = (np.sin(np.arange(8000) / 20) / 2).astype(np.float32)
IMAGES = ("png", "jpeg", "webp")
SOUNDS = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac"}


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[Media]:
    with media(tmp_path, signature=signature(tmp_path / "certificates")) as made:
        yield made


def sound(format: str) -> bytes:
    file = SoundFile(format, None, 16_000, "Atelier m 1", stream=False)
    file.write(WAVE)
    file.close()
    return file.take()


@pytest.mark.parametrize("format", IMAGES)
def test_an_image_leaves_signed_and_is_below_that_the_one_of_its_seed(signing: Media, format: str) -> None:
    plain = encode_image(PIXELS, format, None, "Atelier m 1")
    signing.fake.models["drawn"].reply = answering([plain], f"image/{format}", seed=7, truncation=0.5, label=3)
    reply = signing.gateway.post("/api/generate/drawn", {"seed": 7})
    assert reply.status == 200
    assert reply.headers["x-atelier-marking"] == "eu; c2pa"
    state, manifest = manifest_of(reply.body, f"image/{format}")
    assert state == "Valid"
    assert manifest["claim_generator_info"][0]["name"] == "Atelier"
    assert "thumbnail" not in manifest
    action = manifest["assertions"][0]["data"]["actions"][0]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    said = receipt_of(manifest)
    assert said["sha256"] == hashlib.sha256(plain).hexdigest()
    assert said["seed"] == 7 and said["receipt"]["model"] == "m"
    assert without_manifest(reply.body) == plain or same_pixels(reply.body, plain)
    if format != "webp":
        assert without_manifest(reply.body) == plain


def same_pixels(one: bytes, other: bytes) -> bool:
    return Image.open(io.BytesIO(one)).tobytes() == Image.open(io.BytesIO(other)).tobytes()


@pytest.mark.parametrize("format", SOUNDS)
def test_a_sound_leaves_signed_and_plays_the_same_samples(signing: Media, format: str) -> None:
    plain, kind = sound(format), SOUNDS[format]
    signing.fake.models["digits"].reply = answering([plain], kind, seed=7)
    reply = signing.gateway.post("/api/generate/digits", {"label": "7"})
    state, manifest = manifest_of(reply.body, kind)
    assert state == "Valid"
    assert receipt_of(manifest)["sha256"] == hashlib.sha256(plain).hexdigest()
    before, after = (soundfile.read(io.BytesIO(data), dtype="int16")[0] for data in (plain, reply.body))
    assert np.array_equal(before, after)


def test_what_has_no_place_for_a_signature_leaves_as_it_is_and_says_so(signing: Media) -> None:
    plain = sound("opus")
    signing.fake.models["digits"].reply = answering([plain], "audio/ogg; codecs=opus", seed=7)
    reply = signing.gateway.post("/api/generate/digits", {"label": "7"})
    assert reply.body == plain
    assert reply.headers["x-atelier-marking"] == "eu"


def test_each_of_several_images_is_signed_with_its_own_seed(signing: Media) -> None:
    plain = [encode_image(np.roll(PIXELS, shift, 0), "png", None, "Atelier m 1") for shift in (0, 9)]
    data = [{"b64_json": base64.b64encode(one).decode(), "seed": 7 + i} for i, one in enumerate(plain)]
    body = json.dumps({"data": data, "content_type": "image/png"}).encode()
    signing.fake.models["drawn"].reply = answering([body], "application/json", seed=7)
    made = signing.client.images.generate(model="drawn", prompt="", n=2)
    assert made.data is not None
    for number, item in enumerate(made.data):
        signed = base64.b64decode(item.b64_json or "")
        state, manifest = manifest_of(signed, "image/png")
        assert state == "Valid"
        said = receipt_of(manifest)
        assert (said["seed"], said["sha256"]) == (7 + number, hashlib.sha256(plain[number]).hexdigest())
        assert without_manifest(signed) == plain[number]


def test_an_edit_names_its_upload_without_having_its_pixels(tmp_path: Path) -> None:
    plain = encode_image(PIXELS, "png", None, "Atelier m 1")
    with media(tmp_path, signature=signature(tmp_path / "certificates")) as signing:
        signing.fake.models["altered"].reply = answering([plain], "image/png", seed=7)
        made = signing.client.images.edit(model="altered", image=picture(40), prompt="", extra_body={"seed": 7})
        assert made.data is not None
        state, manifest = manifest_of(base64.b64decode(made.data[0].b64_json or ""), "image/png")
    assert state == "Valid"
    (parent,) = manifest["ingredients"]
    assert (parent["title"], parent["relationship"]) == ("upload", "parentOf")
    assert "thumbnail" not in parent
    actions = manifest["assertions"][0]["data"]["actions"]
    assert [one["action"] for one in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["digitalSourceType"].endswith("/trainedAlgorithmicMedia")


def test_a_file_that_cannot_be_signed_is_not_sent_unsigned(signing: Media) -> None:
    signing.fake.models["drawn"].reply = answering([b"\x89PNG\r\n\x1a\n and no more"], "image/png", seed=7)
    status, _, message = error(signing.gateway.post("/api/generate/drawn", {"seed": 7}))
    assert status == 500
    assert "could not be signed, and is not sent without" in message


def test_what_a_signature_says_leaves_out_what_somebody_wrote(signing: Media) -> None:
    plain = sound("wav")
    signing.fake.models["digits"].reply = answering([plain], "audio/wav", seed=7, text="my own words")
    reply = signing.gateway.post("/api/generate/digits", {"label": "7"})
    said = receipt_of(manifest_of(reply.body, "audio/wav")[1])["receipt"]
    assert said["left_out"] == ["text"] and said["params"] == {"seed": 7}
    assert b"my own words" not in reply.body


def test_the_list_of_models_says_who_signs_and_that_it_is_for_trials(signing: Media) -> None:
    marking = signing.gateway.get("/api/models").json["marking"]
    assert marking["profile"] == "eu"
    assert marking["signature"]["self_made"] is True
    assert marking["signature"]["subject"] == "Atelier, self-made for trials"
    assert "image/png" in marking["signature"]["content_types"]


def test_the_history_has_both_digests(signing: Media) -> None:
    plain = encode_image(PIXELS, "png", None, "Atelier m 1")
    signing.fake.models["drawn"].reply = answering([plain], "image/png", seed=7)
    reply = signing.gateway.post("/api/generate/drawn", {"seed": 7})
    assert signing.gateway.state.history.flush(20)
    (row,) = signing.gateway.get("/api/history").json["data"]
    (file,) = row["files"]
    assert file["sha256"] == hashlib.sha256(plain).hexdigest()
    assert file["bytes"] == len(reply.body)


def test_without_a_signature_nothing_changes(tmp_path: Path) -> None:
    plain = encode_image(PIXELS, "png", None, "Atelier m 1")
    with media(tmp_path) as made:
        made.fake.models["drawn"].reply = answering([plain], "image/png", seed=7)
        reply = made.gateway.post("/api/generate/drawn", {"seed": 7})
        assert reply.body == plain and reply.headers["x-atelier-marking"] == "eu"
        assert made.gateway.get("/api/models").json["marking"] == {"profile": "eu", "signature": None}
