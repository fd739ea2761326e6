"""`python -m serving try NAME`: the name alone is enough for every kind; what comes back is saved as what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from serving.__main__ import main
from serving.tryout import extension, texts
from tests.serving.conftest import Server


def tried(server: Server, out: Path, *arguments: str) -> int:
    return main(["try", *arguments, "--run-dir", str(server.run_dir), "--out", str(out)])


@pytest.mark.server
def test_an_image_by_its_name_alone(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tried(server, tmp_path, "tiny") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{tmp_path / 'tiny.png'}: ")
    assert "'seed': 7" in shown
    assert (tmp_path / "tiny.png").read_bytes() == server.post({"seed": 7}).body
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.png"]


@pytest.mark.server
@pytest.mark.parametrize(("name", "format"), [("jpg", "JPEG"), ("webp", "WEBP")])
def test_images_get_the_extension_of_their_format(server: Server, tmp_path: Path, name: str, format: str) -> None:
    assert tried(server, tmp_path, "tiny", "--seed", "3", "--params", json.dumps({"format": format.lower()})) == 0
    with Image.open(tmp_path / f"tiny.{name}") as picture:
        assert (picture.format, picture.size) == (format, (16, 16))


@pytest.mark.server
def test_several_images_are_a_sheet_unless_said_otherwise(server: Server, tmp_path: Path) -> None:
    assert tried(server, tmp_path, "tiny", "--n", "4") == 0
    with Image.open(tmp_path / "tiny.png") as sheet:
        assert sheet.size == (518, 518)  # 2 x 2 cells of 256 pixels and three gutters
    assert tried(server, tmp_path, "tiny", "--n", "2", "--params", '{"grid": false}') == 0
    assert len(json.loads((tmp_path / "tiny.json").read_text())["data"]) == 2
    assert not (tmp_path / "tiny.txt").exists()  # JSON, but no text


@pytest.mark.server
@pytest.mark.parametrize("more", [(), ("--params", '{"stream": true}')])
def test_a_text_is_saved_as_it_came_and_to_read(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    assert tried(server, tmp_path, "text", "--seed", "5", *more) == 0
    shown = capsys.readouterr().out
    answer = tmp_path / ("text.sse" if more else "text.json")
    assert shown.startswith(f"{answer}, {tmp_path / 'text.txt'}: ")
    described = server.control("text", "describe")
    document = json.loads(server.post({**described["example"], "seed": 5}, "text").body)
    text = document["choices"][0]["text"]
    assert (tmp_path / "text.txt").read_bytes() == f"{text}\n".encode()
    assert shown.endswith(f"\n{text}\n")


@pytest.mark.server
def test_what_a_model_does_not_take_is_refused_by_it(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tried(server, tmp_path, "text", "--n", "16") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: text answered 400: ")
    assert "unknown field" in shown
    assert not list(tmp_path.iterdir())


def test_params_must_be_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", "tiny", "--params", "[1]"]) == 1
    assert "--params is [1], wanted an object such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content_type", "wanted"),
    [("audio/wav", "wav"), ("audio/mpeg", "mp3"), ("text/plain", "txt"), ("application/json", "json"), ("x/y", "bin")],
)
def test_extensions(content_type: str, wanted: str) -> None:
    assert extension(content_type) == wanted


def test_texts_of_a_chat_in_pieces_and_in_order() -> None:
    events = [
        {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": {"content": "c"}, "finish_reason": None}]},
        {"choices": [{"index": i, "delta": {}, "finish_reason": "stop"} for i in (0, 1)]},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    assert texts("text/event-stream", body.encode()) == ["a", "bc"]
    assert texts("image/png", b"\x89PNG") == []
