"""One run from start to stop: check the store, start, warm, prove, watch, start again what was lost, stop."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from handlers.identity import HOME
from serving import config, spool, store
from serving.fallbacks import fallbacks
from serving.gateway_process import GatewayProcess
from serving.jvm import FrontEndLost, StartError
from serving.losses import MAX_FAILURES, Losses
from serving.metrics import Merged
from serving.opening import open_front_end
from serving.private_store import PrivateStore
from serving.signals import StopRequested, StopSignals
from serving.state import AlreadyRunning, Held, only_one, remove_state, write_state
from serving.status import Status
from serving.status_server import StatusServer
from serving.store import Model, StoreError
from serving.torchserve import TorchServe
from serving.usage import root_warnings, usage
from serving.watch import ASK_SECONDS, Watch, drain, probe

LOAD_SECONDS = 75.0
WATCH_SECONDS = 0.5
STOP_SECONDS = 10.0  # what a stop may take beside the drain: TorchServe's bounded wait, and a machine under load
EVERY_MODEL = "every model answered a real request"
# What a start meets when its surroundings are at fault: the next one may find them better.
EXPECTED = (StartError, StoreError, config.PortTaken, OSError)

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of `serving up`; of a port, 0 is a free one."""

    model_store: Path
    run_dir: Path
    status_port: int = 0
    drain_seconds: float = 10.0
    engine_nice: int = 0
    handlers: Path = HOME  # those that serve
    give_up_after: int | None = None  # losses without a quiet time between them; None: never
    gateway: bool = False  # run beside TorchServe, with its settings from this file, if there is one
    gateway_settings: Path | None = None
    spool: Path | None = None  # where the gateway puts what is large; None: `serving.spool.default_folder()`
    log_format: str = "text"  # of torchserve.log: "text" or "json"


def up(options: Options, say: Say = print) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; returns 0 after a clean stop, 1 if TorchServe cannot be kept running.

    Once it has served, a loss is never an end by itself (`Options.give_up_after`), whatever the reason.

    Raises `StoreError`, `PortTaken`, `SocketPathError`, `AlreadyRunning` or `StartError` when it cannot serve.
    """
    config.check_port(options.status_port, "--status-port")
    with only_one(options.run_dir) as held, StopSignals() as signals:
        try:
            return Launch(options, say, held, signals).run()
        except StopRequested:  # before anything was started
            return 0


class Launch:
    """One run: TorchServe is started, watched and, when it is lost, started again at the same addresses."""

    def __init__(self, options: Options, say: Say, held: Held, signals: StopSignals) -> None:
        self._options, self._print, self._held, self._signals = options, say, held, signals
        self._status = Status()
        self._losses = Losses(options.give_up_after)
        self._torchserve: TorchServe | None = None
        self._server: StatusServer | None = None
        self._merged: Merged | None = None
        self._spool = spool.prepare(options.spool or spool.default_folder())
        self._gateway: GatewayProcess | None = None
        if options.gateway:
            given = (options.run_dir, options.gateway_settings, self._spool, options.drain_seconds)
            self._gateway = GatewayProcess(*given, self._status, self._say)
        self._models: list[Model] = []
        self._private = PrivateStore(options.model_store, options.run_dir, options.handlers)
        self._state: dict[str, Any] = {}
        self._trouble = ""  # of the run directory, said once
        self._watched = self._served = False

    def run(self) -> int:
        """Serve until a signal comes; everything that was started is stopped on the way out."""
        code, options = 0, self._options
        with contextlib.ExitStack() as ending:  # from the last to the first, each whatever the others raise
            ending.callback(self._close)
            ending.callback(remove_state, options.run_dir)
            ending.callback(self._private.close)
            ending.callback(self._stop)
            if self._gateway is not None:  # it finishes what it passed on before TorchServe ends
                ending.callback(self._gateway.stop)
            ending.callback(self._status.set, False, "stopping")
            ending.callback(self._signals.ignore)  # from here on everything goes away in any case
            try:
                code = self._keep_serving()
            except StopRequested:
                self._say("stopping")
        self._say("stopped; nothing is left running")
        return code

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a full disk, a terminal that is gone, a closed stream
            self._print(text)

    def _stop(self) -> None:
        if self._torchserve is None:
            return
        left, seconds = 0.0, self._options.drain_seconds
        try:
            if self._watched:
                left = drain(self._torchserve, self._models, seconds)
        finally:
            self._torchserve.stop()
        if left:
            self._say(f"{left:.0f} requests were not finished after {seconds:.0f} s")

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _keep_serving(self) -> int:
        while True:
            failed = False
            try:
                why = self._serve_once()
            except EXPECTED as error:
                if not self._served and not isinstance(error, FrontEndLost):
                    raise
                why = str(error)
            except Exception as error:
                if not self._served:
                    raise
                why, failed = f"the launcher failed ({error!r})\n{traceback.format_exc()}", True
            self._watched = False
            self._losses.lost(by_failure=failed)
            self._tell_loss(why)
            if (enough := self._losses.enough) is not None:
                self._say(f"{enough}: giving up")
                return 1
            if self._torchserve is not None:
                try:
                    self._torchserve.kill()
                except EXPECTED as error:
                    self._say(str(error))
                self._status.torchserve_restarts += 1
            time.sleep(self._losses.pause)
            self._signals.check()

    def _tell_loss(self, why: str) -> None:
        """Tell of a loss: in `/ready` without the log's lines, which hold words of callers."""
        pause, (first, _, rest) = self._losses.pause, why.partition("\n")
        first = first.rstrip(":")
        at = (datetime.now(UTC) + timedelta(seconds=pause)).strftime("%H:%M:%S")
        when = "now" if pause == 0 else f"in {pause:.0f} s, at {at} UTC"
        reason = f"TorchServe is started again {when}: {first} (loss {self._losses.count} in a row)"
        self._status.set(False, reason, {model.manifest.name: "lost" for model in self._models})
        if not rest and self._torchserve is not None:
            rest = self._torchserve.log_tail()
        self._say(f"{first}; it is started again {when}\n{rest}".rstrip())

    def _serve_once(self) -> str:
        """From archives to a server that answers, then watch it; returns why it was lost."""
        began, options = time.monotonic(), self._options
        found = self._private.read(int(config.properties()["max_response_size"]))
        self._look_at_store()
        self._models = found.models
        if self._torchserve is None:
            store.check_memory(self._models)
            log = options.run_dir / "torchserve.log"
            given = (self._private.folder, log, self._spool, options.engine_nice, options.log_format)
            self._torchserve = TorchServe(*given)
        torchserve, names = self._torchserve, [model.manifest.name for model in self._models]
        if self._merged is None or self._server is None:
            self._merged = Merged(torchserve, self._status)
            self._server = StatusServer(self._status, self._merged, options.status_port)
        self._merged.front_end_begins()
        torchserve.start([self._private.folder / name for name in names])
        self._tell_state(torchserve, self._server)
        if self._gateway is not None:
            self._gateway.start()
        self._say(f"starting TorchServe with {', '.join(names)}")
        self._status.warnings = [exposed] if (exposed := torchserve.seal()) else []
        if not self._served:
            warnings = (f"warning: {warning}" for warning in (*self._status.warnings, *root_warnings()))
            for line in (*([found.problem] if found.problem else ()), *warnings):
                self._say(line)
        self._status.set(False, "loading", dict.fromkeys(names, "loading"), found.refused)
        torchserve.wait_loaded(set(names), LOAD_SECONDS, self._check_gateway)
        loaded = time.monotonic()
        self._status.set(False, "warming")
        warmed = open_front_end(torchserve, names)
        problem, words = probe(torchserve, self._models)
        if problem is not None and "ready" not in words.values():
            raise StartError(f"{problem}\n{torchserve.log_tail()}")
        torchserve.publish()
        if self._gateway is not None:
            self._gateway.wait_answering()
            self._tell_state(torchserve, self._server)
        self._status.set(problem is None, problem or EVERY_MODEL, words)
        if problem is not None:  # one model that does not answer takes none of the others along
            self._say(f"{problem}; the others are served\n{torchserve.log_tail()}")
        self._status.fallbacks = fallbacks(torchserve, self._models)
        word = "ready" if problem is None else "started"
        self._say(
            f"{word} after {time.monotonic() - began:.1f} s ({loaded - began:.1f} s start, "
            f"{time.monotonic() - loaded:.1f} s warm-up with {warmed})"
        )
        if not self._served:
            self._say(usage(self._state, self._models, self._options.gateway_settings))
        self._served = True
        self._losses.serving()
        return self._watch(torchserve)

    def _check_gateway(self) -> None:
        if self._gateway is not None:
            self._gateway.check()

    def _look_at_store(self) -> None:
        """Tell, in a line and in `/ready`, when the archives are no longer what is served."""
        self._status.store = self._private.difference()
        for news in (self._private.news(), self._private.put_back()):
            if news is not None:
                self._say(news)

    def _tell_state(self, torchserve: TorchServe, server: StatusServer) -> None:
        self._state = {
            "inference": torchserve.addresses.inference,
            "management": torchserve.addresses.management,
            "status": server.address,
            "folder": str(torchserve.folder),
            "spool": str(self._spool),
            "torchserve_pid": torchserve.pid,  # for people, who otherwise have to look for it
            "models": {model.manifest.name: model.version for model in self._models},
            # The drain asks the models once more after its time is up, and waits for one that does not answer.
            "stop_seconds": self._options.drain_seconds + ASK_SECONDS + STOP_SECONDS,
        }
        if (gateway := self._gateway) is not None:
            self._state["gateway"] = gateway.address  # None until it has answered
            self._state["stop_seconds"] += gateway.stop_seconds
        write_state(self._options.run_dir, self._state)

    def _watch(self, torchserve: TorchServe) -> str:
        watch, failed = Watch(torchserve, self._models, torchserve.ready_workers), 0
        well = self._status.get()[0]
        self._watched = True
        while True:
            time.sleep(WATCH_SECONDS)
            self._signals.check()
            try:
                look = watch.look()
                if look.lost is not None:
                    return look.lost
                well = well if look.unknown else self._judge(torchserve, look.problem, well)
                failed = 0
            except Exception:  # a mistake of ours says nothing about the server
                failed += 1
                if failed == MAX_FAILURES:
                    raise
                self._say(f"a look at the server failed:\n{traceback.format_exc()}")
            self._keep_house(torchserve)

    def _judge(self, torchserve: TorchServe, problem: str | None, well: bool) -> bool:
        """Set the status by what a look found; returns whether everything is well now."""
        if problem is not None:
            self._status.set(False, problem)
            return False
        if not well:  # ready again only after a real answer of every model, or its word that it has too many to give
            problem, words = probe(torchserve, self._models, busy_is_well=True)
            self._status.set(problem is None, problem or EVERY_MODEL, words)
            self._status.fallbacks = fallbacks(torchserve, self._models)
        return problem is None

    def _keep_house(self, torchserve: TorchServe) -> None:
        """What the disk needs twice a second; when it is full that has to wait."""
        try:
            torchserve.log.bound()
            self._look_at_store()
            if self._held.put_back(self._state):
                self._say(f"{self._options.run_dir} was removed while it is in use: state and lock are put back")
        except (OSError, AlreadyRunning) as error:
            if (trouble := str(error)) != self._trouble:
                self._say(trouble)
            self._trouble = trouble
