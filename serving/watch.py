"""Liveness and readiness of everything served: what the launcher asks twice a second, and what it concludes."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from serving.asking import ask_all, own_trouble
from serving.client import Response, request
from serving.clock import AwakeClock
from serving.processes import alive
from serving.store import Model
from serving.torchserve import TorchServe, Worker

PROBE_SECONDS = 30.0
ASK_SECONDS = 5.0  # for all questions of one look
LOST_SECONDS = 3.0  # a worker that is not READY for so long does not come back
SILENT_SECONDS = 15.0  # nor one that answers no question; a machine that is only overloaded answers sooner
FAILED_LOOKS = 2  # in a row, besides: one long look is no evidence
JSON = {"Content-Type": "application/json"}
BUSY = "ready, and busy"


@dataclasses.dataclass(frozen=True)
class Look:
    """State of the server at one look."""

    problem: str | None = None  # why not everything can answer now
    lost: str | None = None  # why TorchServe must be started again
    unknown: bool = False  # the launcher could not look: nothing is known that was not known before


@dataclasses.dataclass(frozen=True)
class _Ill:
    """One thing that a look found: `limit` seconds of it are a loss; None: a sign of life, it mends itself."""

    problem: str
    limit: float | None = None


class Watch:
    """Looks at one running TorchServe; `workers` are the process ids of those that loaded their models."""

    def __init__(
        self,
        torchserve: TorchServe,
        models: list[Model],
        workers: Iterable[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._torchserve = torchserve
        self._names = [model.manifest.name for model in models]
        self._workers = None if workers is None else set(workers)  # None: the first that are seen
        # What no look takes: this process was stopped meanwhile, and the server's silence was its own.
        self._clock = AwakeClock(2 * ASK_SECONDS, clock)
        self._well = self._seen = self._clock()
        self._failed = 0  # looks in a row
        self._restarts: dict[str, object] = {}

    def look(self) -> Look:
        """One look at the process, its workers and their engines; takes at most `ASK_SECONDS`."""
        now = self._clock()
        if self._torchserve.pid is None:
            return Look(lost="TorchServe went away by itself")
        try:
            found = self._look()
        except (OSError, MemoryError) as error:
            if not own_trouble(error):
                raise
            # Too few descriptors, say: the launcher's own trouble, and no evidence against anybody.
            blind = self._clock() - self._seen
            self._well = self._clock()
            problem = f"the launcher cannot look at its server ({error})" if blind > SILENT_SECONDS else None
            return Look(problem, unknown=problem is None)
        if isinstance(found, Look):
            return found
        now = self._seen = self._clock()
        if found is None or found.limit is None:
            self._well, self._failed = now, 0
        else:
            self._failed += 1
            if (ill := now - self._well) > found.limit and self._failed >= FAILED_LOOKS:
                return Look(lost=f"{found.problem} for {ill:.0f} s")
        return Look(None if found is None else found.problem)

    def _look(self) -> Look | _Ill | None:
        """What is wrong. Raises `OSError` or `MemoryError` for trouble of this process."""
        # In its async mode TorchServe leaves the requests of a dead worker hanging, and a worker that takes its place
        # gets requests before it has loaded the model, for ever: only a fresh start helps.
        died = Look(lost="a worker died")
        if any(not alive(pid) for pid in self._workers or ()):
            return died
        questions: dict[str, Callable[[], Any]] = {"": self._torchserve.workers}
        questions |= {name: partial(control, self._torchserve, name, "health") for name in self._names}
        answers = ask_all(questions, ASK_SECONDS)
        for answer in answers.values():
            if isinstance(answer, Exception) and (own_trouble(answer) or not isinstance(answer, OSError)):
                raise answer
        told: Any = answers.pop("")
        if isinstance(told, OSError):
            return _Ill(f"the front end does not tell of its workers ({told})", SILENT_SECONDS)
        if not self._all_ready(told):
            return _Ill("a worker is not ready", LOST_SECONDS)
        now = {worker.pid for name in self._names for worker in told[name]}
        if self._workers is None:
            self._workers = now
        if now != self._workers:
            return died
        found = [ill for name in self._names if (ill := self._engine(name, answers[name])) is not None]
        return max(found, key=lambda ill: ill.limit is not None, default=None)  # what is worst

    def _all_ready(self, workers: dict[str, list[Worker]]) -> bool:
        """Whether every model has workers, and all are READY."""
        return all(workers.get(n) and all(w.status == "READY" for w in workers[n]) for n in self._names)

    def _engine(self, name: str, health: Any) -> _Ill | None:
        """What is wrong with a model by its proxy's word, which replaces the engine where that is."""
        if isinstance(health, OSError):
            return _Ill(f"{name} does not tell how it is ({health})", SILENT_SECONDS)
        if "engine" not in health:  # the front end refuses in its proxy's place
            return _Ill(f"{name} does not tell how it is ({health.get('message')})", SILENT_SECONDS)
        replaced = health.get("restarts", 0) != self._restarts.get(name, 0)
        self._restarts[name] = health.get("restarts", 0)
        if health.get("draining"):
            return _Ill(f"{name} takes no more requests: it was drained, but not by this launcher", SILENT_SECONDS)
        if health["engine"] == "ready":
            return _Ill(f"engine of {name} was replaced") if replaced else None
        return _Ill(f"engine of {name}: {health['engine']}, {health.get('reason')}")


def control(torchserve: TorchServe, name: str, command: str) -> dict[str, object]:
    """The answer of a model's proxy to a control word, as JSON. Raises `OSError`."""
    headers = {**JSON, "X-Atelier": command, "X-Atelier-Nonce": torchserve.nonce}
    answer = request(torchserve.front, "POST", f"/predictions/{name}", b"{}", headers, ASK_SECONDS)
    try:
        document: dict[str, object] = json.loads(answer.body)
    except ValueError:
        raise OSError(f"{name} answered {answer.status} to {command}") from None
    return document


def probe(torchserve: TorchServe, models: list[Model], busy_is_well: bool = False) -> tuple[str | None, dict[str, str]]:
    """One real request to every model, all at once: the first problem, and a word for each.

    `busy_is_well`: a model that is refusing because its queue is full answers others meanwhile.
    """
    answers = ask_all({model.manifest.name: partial(_example, torchserve, model) for model in models}, PROBE_SECONDS)
    words: dict[str, str] = {}
    problem = None
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            if not isinstance(answer, OSError):
                raise answer
            words[name] = f"did not answer: {answer}"
        elif answer.status == 200:
            words[name] = "ready"
        elif busy_is_well and _is_busy(answer):
            words[name] = BUSY
        else:
            words[name] = f"answered {answer.status}: {answer.body[:300]!r}"
        if words[name] not in {"ready", BUSY}:
            problem = problem or f"model {name} {words[name]}"
    return problem, words


def _example(torchserve: TorchServe, model: Model) -> Response:
    body, path = json.dumps(model.manifest.example).encode(), f"/predictions/{model.manifest.name}"
    return request(torchserve.front, "POST", path, body, JSON, PROBE_SECONDS)


def _is_busy(answer: Response) -> bool:
    """Whether a proxy of ours refused: TorchServe's own 503 does not say when to come again."""
    return answer.status == 503 and "retry-after" in answer.headers


def drain(torchserve: TorchServe, models: list[Model], seconds: float) -> float:
    """Let the models finish what they have begun and refuse the rest; returns how many requests were left.

    That takes at most `seconds`, and `ASK_SECONDS` more where a model does not answer.
    """
    deadline = time.monotonic() + seconds
    names = [model.manifest.name for model in models]
    while torchserve.pid is not None:
        figures = ask_all({name: partial(control, torchserve, name, "drain") for name in names}, ASK_SECONDS)
        known = [answer for answer in figures.values() if not isinstance(answer, Exception)]
        left = sum(float(str(answer.get(key, 0))) for answer in known for key in ("in_flight", "queued"))
        if left == 0 or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return 0.0
