"""`python -m serving try`: one request to a running server, its answer saved as something to look at, hear or read."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handlers.files import write_file
from serving.client import Response, request
from serving.listening import EXTENSIONS as SOUNDS
from serving.listening import sound_files
from serving.state import read_state

KEY = "ATELIER_API_KEY"
JSON, EVENTS = "application/json", "text/event-stream"
EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    **SOUNDS,
    "video/mp4": "mp4",
    "text/plain": "txt",
    EVENTS: "sse",
    JSON: "json",
}


class TryError(RuntimeError):
    """No server answers, or it answers with an error; the message has the status and text."""


@dataclasses.dataclass(frozen=True)
class Tried:
    """One answer: the files it was saved to, a line about it, and the texts that it holds."""

    files: tuple[Path, ...]
    line: str
    texts: tuple[str, ...]


def try_model(name: str, given: Mapping[str, Any], run_dir: Path, out: Path) -> Tried:
    """Ask the running server once: the model's own example, overlaid with the parameters `given`.

    Several images of one answer are asked for as a contact sheet, where the model makes one and `given` does not say.
    The answer becomes `out`/NAME with the extension of its content type, and beside it NAME.txt if it holds texts,
    NAME.png (waveform and log-mel spectrogram) if it is a sound; of several sounds NAME-0.wav, NAME-0.png and so on.
    Raises `TryError`, or `OSError` when nothing answers.
    """
    state = read_state(run_dir)
    if state is None:
        raise TryError("no server is running here; start one with `python -m serving up` (or `make up`)")
    if name not in state["models"]:
        raise TryError(f"the server has no model {name!r}; it serves {', '.join(state['models'])}")
    address, path, headers, answer = _described(state, name)
    if answer.status != 200:
        raise TryError(f"{name} answered {answer.status} when asked what it takes: {_shown(answer.body)}")
    described = json.loads(answer.body)
    params = {**described["example"], **given}
    if params.get("n", 1) != 1 and any(spec["name"] == "grid" for spec in described["params"]):
        params.setdefault("grid", True)
    begin = time.perf_counter()
    answer = request(address, "POST", path, json.dumps(params).encode(), headers)
    took = (time.perf_counter() - begin) * 1e3
    if answer.status != 200:
        raise TryError(f"{name} answered {answer.status}: {_shown(answer.body)}")
    whole_type = answer.headers.get("content-type", "")
    content_type = whole_type.partition(";")[0]
    files, found = {out / f"{name}.{extension(content_type)}": answer.body}, texts(content_type, answer.body)
    try:
        files |= sound_files(whole_type, answer.body, out / name)
    except ValueError as error:
        raise TryError(f"{name}: {error}") from None
    if found:
        files[out / f"{name}.txt"] = "".join(f"{text}\n" for text in found).encode()
    for file, body in files.items():
        write_file(file, body)
    receipt = decode_receipt(answer.headers["x-atelier-receipt"])
    line = f"{len(answer.body):,} bytes in {took:.1f} ms; {receipt['model']} {receipt['version']} {receipt['params']}"
    return Tried(tuple(files), line, tuple(found))


def _described(state: Mapping[str, Any], name: str) -> tuple[str, str, dict[str, str], Response]:
    """Address, path and headers for requests to a model, and the answer that describes it: by the gateway if one runs.

    Where that wants a key it is the one in the environment. One with TLS is passed by: its certificate is for its
    public name, and this user reaches the socket behind it.
    """
    headers = {"Content-Type": JSON}
    gateway = state.get("gateway")
    if gateway is None or gateway.startswith("https:"):
        path = f"/predictions/{name}"
        answer = request(state["inference"], "POST", path, b"{}", {**headers, "X-Atelier": "describe"})
        return state["inference"], path, headers, answer
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    answer = request(gateway, "GET", f"/api/models/{name}", headers=headers)
    if answer.status == 401:
        made = "make one with `python -m gateway keys create --name NAME`"
        raise TryError(f"the gateway wants a key: {made}, and set {KEY} to it")
    return gateway, f"/api/generate/{name}", headers, answer


def extension(content_type: str) -> str:
    """The usual extension of files with this content type; "bin" for one that is not known."""
    return EXTENSIONS.get(content_type, "bin")


def texts(content_type: str, body: bytes) -> list[str]:
    """The texts of a completion, by index, from one JSON object or a stream of events; none of any other answer."""
    if content_type == EVENTS:
        events = [event.removeprefix("data: ") for event in body.decode().split("\n\n")]
        documents = [json.loads(event) for event in events if event not in ("", "[DONE]")]
    else:
        documents = [json.loads(body)] if content_type == JSON else []
    found: dict[int, str] = {}
    for document in documents:
        for choice in document.get("choices", []):
            turn = choice.get("message", choice.get("delta", {}))
            text = choice.get("text", turn.get("content", ""))
            found[choice["index"]] = found.get(choice["index"], "") + text
    return [found[index] for index in sorted(found)]


def decode_receipt(value: str) -> dict[str, Any]:
    """The receipt header, decoded into its JSON object."""
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    return decoded


def _shown(body: bytes) -> str:
    return body.decode(errors="replace")[:500]
