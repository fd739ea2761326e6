"""How to call what is served: the commands that the launcher prints once it is ready."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from typing import Any

from serving.store import Model


def usage(state: Mapping[str, Any], models: list[Model]) -> str:
    """Commands to copy, for a launcher of that state (`serving/state.py`); each of them works as it stands.

    Where a gateway runs they call that; if it wants keys, each needs one more header.
    """
    gateway = state.get("gateway")
    where = f"--unix-socket {shlex.quote(state['inference'].removeprefix('unix:'))} http://localhost/predictions"
    base = where if gateway is None else f"{gateway}/api/generate"
    lines = [f"is it ready?   curl {state['status']}/ready", f"what it counts: curl {state['status']}/metrics"]
    if gateway is not None:
        lines.insert(0, f"serving at {gateway} (docs: {gateway}/docs; for OpenAI's clients: {gateway}/v1)")
    for model in models:
        name, body = model.manifest.name, shlex.quote(json.dumps(model.manifest.example))
        lines.append(f"call {name}:   curl -H 'Content-Type: application/json' -d {body} {base}/{name} -o answer")
        lines.append(f"look at it:    python -m serving try {name}")
    return "\n".join(["", *lines, "", "stop with Ctrl-C, or `python -m serving down` from elsewhere"])


def root_warnings() -> list[str]:
    """A sentence if this runs as root; a list, to be said beside others."""
    if os.geteuid() != 0:
        return []
    return [
        "this runs as root, so a fault in a runtime or in TorchServe has the whole machine: give it a user of its own"
    ]
