"""References to files of the spool: what they may name, and everything that a file there may not be."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from handlers import spool
from handlers.engine.whole import whole
from handlers.params import ParamSpec
from handlers.refusals import Refusal
from handlers.spool import MAX_INLINE, VARIABLE, Upload, upload_of

DATA = b"the bytes of an upload"
SHA256 = hashlib.sha256(DATA).hexdigest()
SIZE = len(DATA)
SPEC = ParamSpec("image", "image", "a picture")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "spool"
    made.mkdir(mode=0o700)
    monkeypatch.setenv(VARIABLE, str(made))
    (made / "good").write_bytes(DATA)
    return made


def reference(name: Any = "good", sha256: str = SHA256, size: Any = SIZE) -> Any:
    return {"spooled": {"name": name, "sha256": sha256, "bytes": size}}


def refused(name: str = "good", data: bytes = DATA, limit: int = 1000, **changes: Any) -> Refusal:
    given = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **changes}
    with pytest.raises(Refusal) as caught:
        spool.read(Upload(name, given["sha256"], given["bytes"]), limit, "image")
    assert caught.value.field == "image"
    return caught.value


def test_a_file_of_the_spool_is_read(folder: Path) -> None:
    upload = SPEC.check(reference())
    assert upload == Upload("good", SHA256, len(DATA))
    assert spool.read(upload, len(DATA), "image") == DATA
    assert upload.public() == {"sha256": SHA256}


@pytest.mark.parametrize(
    "value",
    [
        "good",
        {"name": "good", "sha256": SHA256, "bytes": 3},
        {"spooled": "good"},
        {"spooled": {"name": "good", "sha256": SHA256}},
        {"spooled": {"name": "good", "sha256": SHA256, "bytes": 3, "path": "/etc/passwd"}},
        {"spooled": {"name": "good", "sha256": SHA256, "bytes": 3}, "more": 1},
        reference("../good"),
        reference(".."),
        reference("."),
        reference(".good"),
        reference(""),
        reference("/etc/passwd"),
        reference("a/b"),
        reference("a\0b"),
        reference("good\n"),
        reference("x" * 129),
        reference(7),
        reference(sha256=SHA256.upper()),
        reference(sha256=SHA256[:-1]),
        reference(size=0),
        reference(size=-1),
        reference(size=True),
        reference(size=22.0),
        reference(size="22"),
        [reference()],
    ],
)
def test_what_is_no_reference_is_refused_before_anything_is_opened(folder: Path, value: Any) -> None:
    with pytest.raises(Refusal, match=r'wanted an image by reference, {"spooled": {"name", "sha256", "bytes"}}'):
        SPEC.check(value)
    assert upload_of(value) is None


def test_a_link_is_not_followed_wherever_it_leads(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(DATA)
    for target in (tmp_path / "outside", Path("good"), Path("nowhere")):
        (folder / "link").unlink(missing_ok=True)
        (folder / "link").symlink_to(target)
        assert "cannot be opened in the spool (Too many levels of symbolic links)" in refused("link").message
    os.link(tmp_path / "outside", folder / "hard")
    assert "has another name, too" in refused("hard").message


def test_what_is_no_file_is_refused_at_once(folder: Path) -> None:
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")  # opening it to read would wait for a writer for ever
    for name in ("sub", "pipe"):
        assert "image is not what was said: it is no file" in refused(name).message


def test_a_missing_file_is_told(folder: Path) -> None:
    error = refused("gone")
    assert error.status == 400
    assert error.message == "image cannot be opened in the spool (No such file or directory); send it again"


def test_another_users_file_is_refused(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, who can give files away")
    os.chown(folder / "good", 1234, -1)
    assert "it belongs to another user" in refused().message


def test_a_spool_that_others_can_enter_is_used_by_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.chmod(0o711)
    assert "others can enter the spool" in refused().message
    folder.chmod(0o700)
    (folder.parent / "way").symlink_to(folder)
    monkeypatch.setenv(VARIABLE, str(folder.parent / "way"))
    assert "cannot be opened in the spool" in refused().message
    monkeypatch.delenv(VARIABLE)
    assert "this server was started without a spool" in refused().message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "its sha256 is another"),
        ({"data": DATA[::-1]}, "its sha256 is another"),
        ({"bytes": len(DATA) - 1}, f"it has {len(DATA)} bytes"),
        ({"bytes": len(DATA) + 1}, f"it has {len(DATA)} bytes"),
    ],
)
def test_another_digest_or_length_is_refused(folder: Path, changes: dict[str, Any], words: str) -> None:
    error = refused(**changes)
    assert (error.status, error.message) == (400, f"image is not what was said: {words}; send it again")


def test_more_bytes_than_the_model_takes_are_refused_before_they_are_read(folder: Path) -> None:
    (folder / "good").unlink()
    error = refused(limit=len(DATA) - 1)
    assert (error.status, error.message) == (413, f"image has {len(DATA)} bytes, at most {len(DATA) - 1} are taken")


@pytest.mark.parametrize("change", ["longer", "shorter"])
def test_a_file_that_changes_its_length_while_it_is_read_is_refused(
    folder: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fstat

    def then_changed(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_size == len(DATA):
            (folder / "good").write_bytes(DATA + b"x" if change == "longer" else DATA[:-1])
        return found

    monkeypatch.setattr(os, "fstat", then_changed)
    assert refused().message == "image is not what was said: it changed while it was read; send it again"


def test_a_file_that_changes_all_the_time_is_what_was_said_or_refused(folder: Path) -> None:
    """Whatever a writer does meanwhile: bytes that come back are those of the digest."""
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            for data in (DATA, DATA[::-1]):
                with (folder / "good").open("r+b") as file:
                    file.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    outcomes: set[bytes | str] = set()
    try:
        for _ in range(3000):
            try:
                outcomes.add(spool.read(Upload("good", SHA256, len(DATA)), 1000, "image"))
            except Refusal as refusal:
                outcomes.add(refusal.message)
    finally:
        done.set()
        writer.join()
    assert outcomes <= {DATA, "image is not what was said: its sha256 is another; send it again"}
    assert DATA in outcomes


def test_a_file_replaced_after_it_was_opened_is_the_one_that_was_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read

    def replaced(descriptor: int, size: int) -> bytes:
        (folder / "other").write_bytes(DATA[::-1])
        os.replace(folder / "other", folder / "good")
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", replaced)
    assert spool.read(Upload("good", SHA256, len(DATA)), 1000, "image") == DATA


def test_a_file_that_was_removed_after_it_was_opened_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fstat

    def removed(descriptor: int) -> os.stat_result:
        if real(descriptor).st_size == len(DATA):
            (folder / "good").unlink(missing_ok=True)
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", removed)
    message = "image is not what was said: it has another name, too, or none any more; send it again"
    assert refused().message == message


def body(folder: Path, data: bytes) -> Any:
    (folder / "body").write_bytes(data)
    return reference("body", hashlib.sha256(data).hexdigest(), len(data))


def test_a_whole_request_comes_by_reference(folder: Path) -> None:
    params = {"text": "é" * 200_000, "seed": 7}
    data = json.dumps(params, ensure_ascii=False).encode()
    assert whole(body(folder, data), 1 << 20) == params
    assert whole(params, 10) is params  # one that came as it is was measured by the proxy


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1, "a": 2}', "names a field twice"),
        (b'{"a": NaN}', "the body holds NaN"),
        (b'{"a": 1', "the body is not valid JSON"),
        (b"\xff\xfe{}", "the body is not valid JSON"),
        (b"\xef\xbb\xbf{}", "the body is not valid JSON"),
        (b"[" * 100_000, "more than 8192 values"),
        (b"[" * 8000, "the body is not valid JSON"),
        (b" ", "the body is not valid JSON"),
    ],
)
def test_a_body_of_the_spool_is_looked_over_like_any_other(folder: Path, data: bytes, words: str) -> None:
    with pytest.raises(Refusal, match=words) as caught:
        whole(body(folder, data), 1 << 20)
    assert caught.value.status == 400


def test_a_body_by_reference_is_bounded_and_never_followed_twice(folder: Path) -> None:
    with pytest.raises(Refusal, match="the body has 300 bytes, at most 299 are taken") as caught:
        whole(body(folder, b" " * 300), 299)
    assert caught.value.status == 413
    inner = reference()
    assert whole(body(folder, json.dumps(inner).encode()), 1000) == inner
    with pytest.raises(Refusal, match="the body is no reference to a file, wanted"):
        whole({"spooled": {"name": "../x", "sha256": SHA256, "bytes": 1}}, 1000)


def test_a_small_image_may_stand_in_the_request(folder: Path) -> None:
    upload = SPEC.check({"b64_json": base64.b64encode(DATA).decode()})
    assert spool.read(upload, SIZE, "image") == DATA
    assert upload.public() == {"sha256": SHA256}
    assert "bytes of" not in repr(upload)  # logs hold no upload
    with pytest.raises(Refusal, match=f"image has {SIZE} bytes, at most {SIZE - 1} are taken"):
        spool.read(upload, SIZE - 1, "image")
    largest = base64.b64encode(bytes(MAX_INLINE)).decode()
    assert SPEC.check({"b64_json": largest}).bytes == MAX_INLINE


@pytest.mark.parametrize(
    "value",
    [
        {"b64_json": ""},
        {"b64_json": "no base 64"},
        {"b64_json": "YQ="},
        {"b64_json": "YWJj\n"},
        {"b64_json": "\u00e9\u00e9\u00e9\u00e9"},
        {"b64_json": 7},
        {"b64_json": "YWJj", "spooled": {}},
        {"b64_json": "A" * (MAX_INLINE * 4 // 3 + 4)},
        "YWJj",
    ],
)
def test_what_is_no_base64_is_refused(value: Any) -> None:
    with pytest.raises(
        Refusal, match=r'wanted an image by reference, .*, or {"b64_json": "..."} of at most 49152 bytes'
    ):
        SPEC.check(value)


def test_a_whole_request_is_never_base64() -> None:
    params = {"b64_json": "YWJj"}
    assert whole(params, 1000) is params
