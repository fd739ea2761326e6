"""`python -m serving try`: one request to a running server, saved as something to look at."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

from serving.client import request
from serving.launcher import read_state

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "application/json": "json"}


class TryError(RuntimeError):
    """No server, or an answer that is no success."""


def try_model(
    name: str, defaults: dict[str, Any], params: dict[str, Any], run_dir: Path, out: Path
) -> tuple[Path, str]:
    """Ask the running server and save the answer below `out`; returns its path and a line about it.

    `defaults` are sent as far as the model has such parameters, `params` in any case; what else is needed is the model's example.
    """
    state = read_state(run_dir)
    if state is None:
        raise TryError("no server is running here; start one with `python -m serving up` (or `make serve`)")
    models = state["models"]
    if not isinstance(models, dict) or name not in models:
        raise TryError(f"the server has no model {name!r}; it serves {', '.join(models)}")  # type: ignore[arg-type]
    headers = {"Content-Type": "application/json"}
    address, path = str(state["inference"]), f"/predictions/{name}"
    described = json.loads(request(address, "POST", path, b"{}", {**headers, "X-Atelier": "describe"}).body)
    known = {spec["name"]: spec["default"] for spec in described.get("params", [])}
    sent = {key: value for key, value in defaults.items() if key in known} | params
    # What a request must hold (a text to sum up) comes from the model's example.
    sent = {k: v for k, v in described.get("example", {}).items() if known.get(k) is None and k not in sent} | sent
    begin = time.perf_counter()
    answer = request(address, "POST", path, json.dumps(sent).encode(), headers)
    took = (time.perf_counter() - begin) * 1e3
    if answer.status != 200:
        raise TryError(f"{name} answered {answer.status}: {answer.body.decode(errors='replace')[:500]}")
    extension = EXTENSIONS.get(answer.headers.get("content-type", "").partition(";")[0], "bin")
    file = out / f"{name}.{extension}"
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / f".{file.name}"
    temporary.write_bytes(answer.body)
    os.replace(temporary, file)
    receipt = decode_receipt(answer.headers["x-atelier-receipt"])
    line = f"{len(answer.body):,} bytes in {took:.1f} ms; {receipt['model']} {receipt['version']} {receipt['params']}"
    return file, "\n".join([line, *_texts(answer.body, extension)])


def _texts(body: bytes, extension: str) -> list[str]:
    """The texts of an answer that is one."""
    document = json.loads(body) if extension == "json" else {}
    choices = document.get("choices", [])
    return [choice["message"]["content"] if "message" in choice else choice["text"] for choice in choices]


def decode_receipt(value: str) -> dict[str, Any]:
    """The receipt header as the JSON object it is."""
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    return decoded
