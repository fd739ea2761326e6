"""How to call what is served: the commands that the launcher prints once it is ready."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.client import request
from serving.store import Model

ASK_SECONDS = 5.0
KEY = "ATELIER_API_KEY"  # of the environment; `serving try` takes it from there, too


def wants_keys(gateway: str) -> bool:
    """Whether it answers nobody without a key. One that cannot be asked, by its own name alone say, is taken to."""
    try:
        return request(gateway, "GET", "/api/models", timeout=ASK_SECONDS).status == 401
    except OSError:
        return True


def usage(state: Mapping[str, Any], models: list[Model], settings: Path | None = None) -> str:
    """Commands to copy, for a launcher of that state (`serving/state.py`); each of them works as it stands.

    Where a gateway runs (with `settings`) they call that; where it wants keys, with the one in the environment.
    """
    gateway = state.get("gateway")
    keys = gateway is not None and wants_keys(gateway)
    key = f'-H "Authorization: Bearer ${KEY}" ' if keys else ""
    where = f"--unix-socket {shlex.quote(state['inference'].removeprefix('unix:'))} http://localhost/predictions"
    base = where if gateway is None else f"{gateway}/api/generate"
    lines = [f"is it ready?   curl {state['status']}/ready", f"what it counts: curl {state['status']}/metrics"]
    if gateway is not None:
        lines.insert(0, f"serving at {gateway} (docs: {gateway}/docs; for OpenAI's clients: {gateway}/v1)")
    if keys:
        file = "" if settings is None else f" --settings {shlex.quote(str(settings))}"
        lines.append(f"keys are wanted: export {KEY}=$(python -m gateway keys create --name me{file})")
    for model in models:
        name, body = model.manifest.name, shlex.quote(json.dumps(model.manifest.example))
        lines.append(f"call {name}:   curl {key}-H 'Content-Type: application/json' -d {body} {base}/{name} -o answer")
        lines.append(f"look at it:    python -m serving try {name}")
    return "\n".join(["", *lines, "", "stop with Ctrl-C, or `python -m serving down` from elsewhere"])


def root_warnings() -> list[str]:
    """A sentence if this runs as root; a list, to be said beside others."""
    if os.geteuid() != 0:
        return []
    return [
        "this runs as root, so a fault in a runtime or in TorchServe has the whole machine: give it a user of its own"
    ]
