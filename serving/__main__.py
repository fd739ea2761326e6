"""python -m serving up|wait|down|try: run TorchServe on the model store, stop it, look at what a model answers."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from handlers.identity import HOME
from serving.commands import down, wait_ready
from serving.config import PortTaken, SocketPathError
from serving.jvm import StartError
from serving.launcher import Options, up
from serving.lifeline import stop_at_end_of
from serving.state import AlreadyRunning
from serving.store import StoreError
from serving.tryout import TryError, try_model
from serving.voice import Voice

UP = "Serve every archive of the model store until Ctrl-C, SIGTERM, SIGHUP or `down`; what is lost is started again."
WAIT = "Return once every model has answered a real request; fail after a time, or when the launcher is gone."
DOWN = "Stop the server that was started here, and wait for it as long as a stop may take (`up --drain-seconds`)."
TRY = "Ask the running server for the model's own example, changed by what is given here, and save the answer."
# Anything else is a mistake of ours, and keeps its traceback.
FORESEEABLE = (AlreadyRunning, OSError, PortTaken, SocketPathError, StartError, StoreError, TryError)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a foreseeable failure is one message and exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except FORESEEABLE as error:
        with contextlib.suppress(OSError):  # nobody reads it any more
            print(f"error: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    if options.command == "up":
        chosen = Options(
            options.model_store,
            options.run_dir,
            options.status_port,
            options.drain_seconds,
            options.engine_nice,
            options.handlers,
            options.give_up_after,
            options.gateway,
            options.gateway_settings,
            options.spool,
            options.log_format,
        )
        _check_writable(options.run_dir, "--run-dir")
        if options.gateway_settings is not None and not options.gateway:
            raise StartError("--gateway-settings is of no use without a gateway: give --gateway, too")
        if options.stop_at_eof:
            stop_at_end_of(sys.stdin.fileno())
        with Voice(_output()) as voice:
            return up(chosen, voice.say)
    if options.command == "down":
        print("stopped" if down(options.run_dir) else f"nothing is running in {options.run_dir}")
    elif options.command == "wait":
        wait_ready(options.run_dir, options.seconds, options.pid)
        print("ready")
    else:
        _check_writable(options.out, "--out")
        said = {key: value for key in ("seed", "n") if (value := getattr(options, key)) is not None}
        tried = try_model(options.name, {**said, **_params(options.params)}, options.run_dir, options.out)
        print(f"{', '.join(map(str, tried.files))}: {tried.line}", *tried.texts, sep="\n")
    return 0


def _check_writable(folder: Path, option: str) -> None:
    """Raise `OSError`, naming the option, if this user can write nothing to a folder, or not make it."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "this user may not write to" if there.is_dir() else "there is a file at"
        raise OSError(f"{folder} cannot be used, {why} {there}: name another folder, e.g. {option} /tmp/atelier")


def _output() -> int:
    """The descriptor of standard output; started without one, its number may by now be another file's."""
    return 1 if sys.stdout is not None else os.open(os.devnull, os.O_WRONLY)


def _params(text: str) -> dict[str, Any]:
    example = "wanted an object such as '{\"truncation\": 0.7}'"
    try:
        params = json.loads(text)
    except json.JSONDecodeError as error:
        raise TryError(f"--params is not valid JSON ({error}); {example}") from None
    if not isinstance(params, dict):
        raise TryError(f"--params is {text}, {example}")
    return params


def _nice(text: str) -> int:
    """A niceness, as the kernel takes it."""
    try:
        value = int(text)
    except ValueError:
        value = 20
    if not -20 <= value <= 19:
        raise argparse.ArgumentTypeError(f"{text} is no niceness, wanted an integer from -20 to 19")
    return value


def _count(text: str) -> int:
    """A number of losses."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of losses, wanted an integer from 1 up")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    example = "example: python -m serving "
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__, epilog=f"{example}up --gateway")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser(
        "up", help="start, warm, watch; Ctrl-C stops", description=UP, epilog=f"{example}up --gateway"
    )
    option = start.add_argument
    store = "folder of .mar archives (default: model_store), e.g. --model-store /srv/models"
    option("--model-store", type=Path, default=Path("model_store"), metavar="DIR", help=store)
    handlers = (
        "the handlers/ that serve (default: those of this checkout); archives that hold others are refused, "
        "e.g. --handlers ../older/handlers"
    )
    option("--handlers", type=Path, default=HOME, metavar="DIR", help=handlers)
    gateway = "run the gateway beside it: the way in for callers, which is started again and drained, e.g. --gateway"
    option("--gateway", action="store_true", help=gateway)
    settings = (
        "its settings, a TOML file (default: docs/gateway.md lists them), e.g. --gateway-settings /etc/atelier.toml"
    )
    option("--gateway-settings", type=Path, metavar="FILE", help=settings)
    spool = (
        "folder of this user's alone for uploads and large bodies, which the gateway writes and the engines read "
        "(default: one in memory, where there is some), e.g. --spool /run/atelier/spool"
    )
    option("--spool", type=Path, metavar="DIR", help=spool)
    status = "port of /ready and /metrics (default: a free one), e.g. --status-port 8082"
    option("--status-port", type=int, default=0, metavar="PORT", help=status)
    drain = "how long a stop waits for requests in flight (default: 10), e.g. --drain-seconds 30"
    option("--drain-seconds", type=float, default=10, metavar="S", help=drain)
    nice = (
        "niceness of the engine processes, from -20 (first) to 19 (default: 0); negative ones need root or "
        "CAP_SYS_NICE, without which the engine logs that and serves as it is, e.g. --engine-nice -15"
    )
    option("--engine-nice", type=_nice, default=0, metavar="N", help=nice)
    form = (
        "of torchserve.log: lines for people, or JSON objects as in gateway.log (default: text), e.g. --log-format json"
    )
    option("--log-format", choices=("text", "json"), default="text", help=form)
    patience = (
        "end with exit code 1 after N losses of TorchServe without 5 quiet minutes in between, for a supervisor that "
        "should decide (default: never; pauses grow to a minute), e.g. --give-up-after 6"
    )
    option("--give-up-after", type=_count, metavar="N", help=patience)
    lifeline = (
        "stop when standard input ends: give it a pipe, and the server goes with whoever holds the other end, "
        "e.g. --stop-at-eof"
    )
    option("--stop-at-eof", action="store_true", help=lifeline)
    wait = commands.add_parser(
        "wait", help="return when it is ready", description=WAIT, epilog=f"{example}wait --seconds 30"
    )
    patience = "how long to wait (default: 90), e.g. --seconds 30"
    wait.add_argument("--seconds", type=float, default=90, metavar="S", help=patience)
    wait.add_argument("--pid", type=int, help="give up when this process is gone, e.g. --pid 1234")
    stop = commands.add_parser("down", help="stop what runs", description=DOWN, epilog=f"{example}down")
    attempt = commands.add_parser(
        "try", help="save one answer to look at", description=TRY, epilog=f"{example}try dcgan --seed 7"
    )
    option = attempt.add_argument
    option("name", help="name of the model")
    option("--seed", type=int, help="seed of the first answer (default: the example's), e.g. --seed 7")
    option("--n", type=int, help="how many; of images on one contact sheet (default: the example's), e.g. --n 16")
    more = "any parameters as a JSON object, e.g. --params '{\"truncation\": 0.7}'"
    option("--params", default="{}", metavar="JSON", help=more)
    option(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="folder to save to (default: out), e.g. --out /tmp"
    )
    for command in (start, wait, stop, attempt):
        place = "state and log of the server (default: artifacts/serving), e.g. --run-dir /run/atelier"
        command.add_argument("--run-dir", type=Path, default=Path("artifacts/serving"), metavar="DIR", help=place)
    return parser


if __name__ == "__main__":
    sys.exit(main())
