"""One run from start to stop: check the store, start, warm, prove, watch, start again what was lost, stop."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

from handlers.identity import HOME
from serving import config, store
from serving.fallbacks import fallbacks
from serving.metrics import Merged
from serving.private_store import PrivateStore
from serving.signals import StopRequested, StopSignals
from serving.state import only_one, remove_state, write_state
from serving.status import Status
from serving.status_server import StatusServer
from serving.store import Model, StoreError
from serving.torchserve import StartError, TorchServe
from serving.usage import usage
from serving.warm import ENTRIES, warm_both, widen
from serving.watch import ASK_SECONDS, Watch, control, drain, probe

LOAD_SECONDS = 75.0
WATCH_SECONDS = 0.5
STOP_SECONDS = 10.0  # what a stop may take beside the drain: TorchServe's bounded wait, and a machine under load
EVERY_MODEL = "every model answered a real request"
MAX_RESTARTS = 5  # within the window; after that whatever supervises the launcher should look
RESTART_WINDOW_SECONDS = 300.0
RESTART_PAUSES = (0.0, 1.0, 2.0, 5.0)

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of `serving up`; of a port, 0 is a free one."""

    model_store: Path
    run_dir: Path
    dev_port: int | None = None  # inference on loopback HTTP at this port; None: on a unix socket
    status_port: int = 0
    drain_seconds: float = 10.0
    engine_nice: int = 0
    handlers: Path = HOME  # those that serve


def up(options: Options, say: Say = print) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; returns 0 after a clean stop, 1 if TorchServe cannot be kept running.

    Raises `StoreError`, `PortTaken`, `SocketPathError`, `AlreadyRunning` or `StartError` when it cannot serve.
    """
    for number, option in ((options.dev_port or 0, "--port"), (options.status_port, "--status-port")):
        config.check_port(number, option)
    with only_one(options.run_dir), StopSignals() as signals:
        try:
            launch = Launch(options, say)
        except StopRequested:
            return 0
        return launch.run(signals)


class FrontEndLost(StartError):
    """TorchServe's front end failed while it was prepared: another start may succeed, even if this was the first."""


class Launch:
    """One run: TorchServe is started, watched and, when it is lost, started again at the same addresses."""

    def __init__(self, options: Options, say: Say) -> None:
        self._options, self._say = options, say
        self._status = Status()
        self._torchserve: TorchServe | None = None
        self._server: StatusServer | None = None
        self._merged: Merged | None = None
        self._models: list[Model] = []
        self._private = PrivateStore(options.model_store, options.run_dir, options.handlers)
        self._watched = self._told = False

    def run(self, signals: StopSignals) -> int:
        """Serve until a signal comes; everything that was started is stopped on the way out."""
        code, drain_seconds = 0, self._options.drain_seconds
        try:
            code = self._keep_serving()
        except StopRequested:
            self._say("stopping")
        finally:
            signals.ignore()  # from here on everything goes away in any case
            self._status.set(False, "stopping")
            if self._torchserve is not None:
                if self._watched and (left := drain(self._torchserve, self._models, drain_seconds)):
                    self._say(f"{left:.0f} requests were not finished after {drain_seconds:.0f} s")
                self._torchserve.stop()
            self._private.close()
            remove_state(self._options.run_dir)
            if self._server is not None:
                self._server.close()
        self._say("stopped; nothing is left running")
        return code

    def _keep_serving(self) -> int:
        lost_at: list[float] = []
        while True:
            try:
                why = self._serve_once()
            except (StartError, StoreError) as error:
                if not lost_at and not isinstance(error, FrontEndLost):
                    raise
                why = str(error)
            lost_at = [at for at in lost_at if time.monotonic() - at < RESTART_WINDOW_SECONDS] + [time.monotonic()]
            self._watched = False
            self._status.set(False, f"TorchServe is started again: {why}")
            self._say(f"{why}; it is started again\n{self._torchserve.log_tail() if self._torchserve else ''}")
            if len(lost_at) > MAX_RESTARTS:
                self._say(f"it was lost {len(lost_at)} times in {RESTART_WINDOW_SECONDS / 60:.0f} minutes: giving up")
                return 1
            if self._torchserve is not None:
                self._torchserve.kill()
                self._status.torchserve_restarts += 1
            time.sleep(RESTART_PAUSES[min(len(lost_at), len(RESTART_PAUSES)) - 1])

    def _serve_once(self) -> str:
        """From archives to a server that answers, then watch it; returns why it was lost."""
        began, options = time.monotonic(), self._options
        found = self._private.read(int(config.properties()["max_response_size"]))
        self._look_at_store()
        self._models = found.models
        if self._torchserve is None:
            store.check_memory(self._models)
            log = options.run_dir / "torchserve.log"
            self._torchserve = TorchServe(self._private.folder, log, options.dev_port, options.engine_nice)
        torchserve, names = self._torchserve, [model.manifest.name for model in self._models]
        if self._merged is None or self._server is None:
            self._merged = Merged(torchserve, self._status)
            self._server = StatusServer(self._status, self._merged, options.status_port)
        self._merged.front_end_begins()
        torchserve.start(
            [self._private.folder / name for name in names],
            max(model.manifest.limits.max_request_bytes for model in self._models),
        )
        self._tell_state(torchserve, self._server)
        self._say(f"starting TorchServe with {', '.join(names)}")
        if found.problem and not self._told:
            self._say(found.problem)
        self._status.warnings = [exposed] if (exposed := torchserve.seal()) else []
        for warning in () if self._told else (*self._status.warnings, *_root_warning()):
            self._say(f"warning: {warning}")
        self._status.set(False, "loading", dict.fromkeys(names, "loading"), found.refused)
        torchserve.wait_loaded(set(names), LOAD_SECONDS)
        loaded = time.monotonic()
        self._status.set(False, "warming")
        warmed = _warm(torchserve, names)
        problem, words = probe(torchserve, self._models)
        if problem is not None and "ready" not in words.values():
            raise StartError(f"{problem}\n{torchserve.log_tail()}")
        torchserve.publish()
        self._status.set(problem is None, problem or EVERY_MODEL, words)
        if problem is not None:  # one model that does not answer takes none of the others along
            self._say(f"{problem}; the others are served\n{torchserve.log_tail()}")
        self._status.fallbacks = fallbacks(torchserve, self._models)
        word = "ready" if problem is None else "started"
        self._say(
            f"{word} after {time.monotonic() - began:.1f} s ({loaded - began:.1f} s start, "
            f"{time.monotonic() - loaded:.1f} s warm-up with {warmed})"
        )
        if not self._told:
            self._say(usage(torchserve.addresses.inference, self._server.address, self._models))
            self._told = True
        return self._watch(torchserve)

    def _look_at_store(self) -> None:
        """Tell, in a line and in `/ready`, when the archives are no longer what is served."""
        self._status.store = self._private.difference()
        for news in (self._private.news(), self._private.put_back()):
            if news is not None:
                self._say(news)

    def _tell_state(self, torchserve: TorchServe, server: StatusServer) -> None:
        values = {
            "inference": torchserve.addresses.inference,
            "management": torchserve.addresses.management,
            "status": server.address,
            "folder": str(torchserve.folder),
            "models": {model.manifest.name: model.version for model in self._models},
            # The drain asks every model once more after its time is up, and waits for one that does not answer.
            "stop_seconds": self._options.drain_seconds + ASK_SECONDS * len(self._models) + STOP_SECONDS,
        }
        write_state(self._options.run_dir, values)

    def _watch(self, torchserve: TorchServe) -> str:
        watch, well = Watch(torchserve, self._models), self._status.get()[0]
        self._watched = True
        while True:
            time.sleep(WATCH_SECONDS)
            self._look_at_store()
            look = watch.look()
            if look.lost is not None:
                return look.lost
            if look.problem is not None:
                self._status.set(False, look.problem)
                well = False
            elif not well:  # ready again only after a real answer of every model
                problem, words = probe(torchserve, self._models)
                self._status.set(problem is None, problem or EVERY_MODEL, words)
                self._status.fallbacks = fallbacks(torchserve, self._models)
                well = problem is None


def _warm(torchserve: TorchServe, names: list[str]) -> str:
    """Make the front end's table wide and its code warm; returns with how much. Raises `FrontEndLost`."""
    began = time.monotonic()
    try:
        for name in names:
            if (held := widen(torchserve.front, name, torchserve.nonce)) != ENTRIES:
                found = f"the front end held {held} requests to {name} at once, wanted {ENTRIES}"
                raise FrontEndLost(f"{found}\n{torchserve.log_tail()}")
        pings, refusals = warm_both(torchserve.front, names, torchserve.nonce, spent=time.monotonic() - began)
        for name in names:
            if (told := control(torchserve, name, "open")).get("status") != "open":  # its words are refused from now on
                raise StartError(f"{name} does not know the word open ({told}): archive it again with these handlers")
    except (OSError, EOFError, ValueError) as error:  # a connection that ends, or bytes that are no HTTP
        tail = torchserve.log_tail()
        raise FrontEndLost(f"the front end died while it was warmed: {error!r}\n{tail}") from error
    if not pings or not refusals:
        found = f"{pings} pings were answered and {refusals} requests refused during the warm-up, wanted some of either"
        raise FrontEndLost(f"{found}\n{torchserve.log_tail()}")
    return f"{pings} pings and {refusals} refusals"


def _root_warning() -> list[str]:
    """A sentence if this runs as root; a list, to be said beside others."""
    if os.geteuid() != 0:
        return []
    return [
        "this runs as root, so a fault in a runtime or in TorchServe has the whole machine: give it a user of its own"
    ]
