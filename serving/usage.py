"""How to call what is served: the commands that the launcher prints once it is ready."""

from __future__ import annotations

import json
import os
import shlex

from serving.store import Model


def usage(inference: str, status: str, models: list[Model]) -> str:
    """Commands to copy, for the addresses of inference and of `/ready`; each of them works as it stands."""
    where = f"--unix-socket {shlex.quote(inference.removeprefix('unix:'))} http://localhost"
    base = inference if inference.startswith("http") else where
    lines = [f"is it ready?   curl {status}/ready", f"what it counts: curl {status}/metrics"]
    for model in models:
        name, body = model.manifest.name, shlex.quote(json.dumps(model.manifest.example))
        path = f"{base}/predictions/{name}"
        lines.append(f"call {name}:   curl -H 'Content-Type: application/json' -d {body} {path} -o answer")
        lines.append(f"look at it:    python -m serving try {name}")
    return "\n".join(["", *lines, "", "stop with Ctrl-C, or `python -m serving down` from elsewhere"])


def root_warnings() -> list[str]:
    """A sentence if this runs as root; a list, to be said beside others."""
    if os.geteuid() != 0:
        return []
    return [
        "this runs as root, so a fault in a runtime or in TorchServe has the whole machine: give it a user of its own"
    ]
