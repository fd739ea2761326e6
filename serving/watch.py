"""Liveness and readiness of everything served: what the launcher asks twice a second, and what it concludes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time

from serving.client import request
from serving.store import Model
from serving.torchserve import TorchServe

PROBE_SECONDS = 30.0
ASK_SECONDS = 5.0
LOST_SECONDS = 3.0  # a worker that is not READY for so long does not come back
SILENT_SECONDS = 15.0  # nor one that answers no question; a machine that is only overloaded answers sooner
JSON = {"Content-Type": "application/json"}


@dataclasses.dataclass(frozen=True)
class Look:
    """State of the server at one look."""

    problem: str | None = None  # why not everything can answer now
    lost: str | None = None  # why TorchServe must be started again


class Watch:
    """Looks at one running TorchServe."""

    def __init__(self, torchserve: TorchServe, models: list[Model]) -> None:
        self._torchserve = torchserve
        self._names = [model.manifest.name for model in models]
        self._workers: set[int] | None = None
        with contextlib.suppress(OSError):
            self._workers = self._ready_workers()
        self._well = time.monotonic()
        self._restarts: dict[str, object] = {}

    def look(self) -> Look:
        """One look at the process, its workers and their engines."""
        if self._torchserve.pid is None:
            return Look(lost="TorchServe went away by itself")
        limit = SILENT_SECONDS
        try:
            now = self._ready_workers()
        except OSError as error:
            problem: str | None = f"the front end does not tell of its workers ({error})"
        else:
            if now is None:
                problem, limit = "a worker is not ready", LOST_SECONDS
            elif now != self._workers:
                # In its async mode TorchServe leaves the requests of a dead worker hanging, and a worker that takes its
                # place gets requests before it has loaded the model, for ever: only a fresh start helps.
                return Look(lost="a worker died")
            else:
                problem = next((p for p in map(self._engine_problem, self._names) if p is not None), None)
        if problem is None or problem.startswith("engine"):  # an engine is replaced by its proxy
            self._well = time.monotonic()
        elif (ill := time.monotonic() - self._well) > limit:
            return Look(lost=f"{problem} for {ill:.0f} s")
        return Look(problem)

    def _ready_workers(self) -> set[int] | None:
        """Process ids of all workers, or None unless every model has workers and all are READY.

        Raises `OSError` for no answer.
        """
        workers = self._torchserve.workers()
        if not all(workers.get(n) and all(w.status == "READY" for w in workers[n]) for n in self._names):
            return None
        return {worker.pid for name in self._names for worker in workers[name]}

    def _engine_problem(self, name: str) -> str | None:
        try:
            answer = control(self._torchserve, name, "health")
        except OSError as error:
            return f"{name} does not tell how it is ({error})"
        replaced = answer.get("restarts", 0) != self._restarts.get(name, 0)
        self._restarts[name] = answer.get("restarts", 0)
        if answer.get("engine") == "ready":
            return f"engine of {name} was replaced" if replaced else None
        return f"engine of {name}: {answer.get('engine')}, {answer.get('reason')}"


def control(torchserve: TorchServe, name: str, command: str) -> dict[str, object]:
    """The answer of a model's proxy to a control word, as JSON. Raises `OSError`."""
    headers = {**JSON, "X-Atelier": command}
    answer = request(torchserve.front, "POST", f"/predictions/{name}", b"{}", headers, ASK_SECONDS)
    try:
        document: dict[str, object] = json.loads(answer.body)
    except ValueError:
        raise OSError(f"{name} answered {answer.status} to {command}") from None
    return document


def probe(torchserve: TorchServe, models: list[Model]) -> tuple[str | None, dict[str, str]]:
    """One real request to every model: the first problem, and a word for each."""
    words: dict[str, str] = {}
    problem = None
    for model in models:
        name = model.manifest.name
        try:
            answer = request(
                torchserve.front,
                "POST",
                f"/predictions/{name}",
                json.dumps(model.manifest.example).encode(),
                JSON,
                PROBE_SECONDS,
            )
            words[name] = "ready" if answer.status == 200 else f"answered {answer.status}: {answer.body[:300]!r}"
        except OSError as error:
            words[name] = f"did not answer: {error}"
        if words[name] != "ready":
            problem = problem or f"model {name} {words[name]}"
    return problem, words


def drain(torchserve: TorchServe, models: list[Model], seconds: float) -> float:
    """Let the models finish what they have begun and refuse the rest; returns how many requests were left.

    That takes at most `seconds`, and `ASK_SECONDS` more for every model that does not answer.
    """
    deadline = time.monotonic() + seconds
    while torchserve.pid is not None:
        left = 0.0
        for model in models:
            try:
                figures = control(torchserve, model.manifest.name, "drain")
            except OSError:
                continue
            left += sum(float(str(figures.get(key, 0))) for key in ("in_flight", "queued"))
        if left == 0 or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return 0.0
