"""python -m serving up|wait|down|try: run TorchServe on the model store, stop it, look at what a model answers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from serving.config import PortTaken
from serving.launcher import AlreadyRunning, down, up, wait_ready
from serving.lifeline import stop_at_end_of
from serving.store import StoreError
from serving.torchserve import StartError
from serving.tryout import TryError, try_model


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a foreseeable failure is one message and exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "up":
            dev = options.dev or options.port != 0
            if options.stop_at_eof:
                stop_at_end_of(sys.stdin.fileno())
            return up(
                options.model_store,
                options.run_dir,
                dev,
                options.port,
                options.status_port,
                _say,
                options.drain_seconds,
            )
        if options.command == "down":
            stopped = down(options.run_dir)
            print("stopped" if stopped else f"nothing is running in {options.run_dir}")
            return 0
        if options.command == "wait":
            wait_ready(options.run_dir, options.seconds, options.pid)
            print("ready")
            return 0
        extra = json.loads(options.params)
        if not isinstance(extra, dict):
            raise TryError(f"--params is {options.params}, wanted a JSON object such as '{{\"truncation\": 0.7}}'")
        defaults = {"seed": options.seed, "n": options.n, "grid": options.n > 1}
        path, line = try_model(options.name, defaults, extra, options.run_dir, options.out)
        print(f"{path}: {line}")
        return 0
    except json.JSONDecodeError as error:
        print(
            f"error: --params is not valid JSON ({error}); wanted an object such as '{{\"truncation\": 0.7}}'",
            file=sys.stderr,
        )
    except (StoreError, StartError, PortTaken, AlreadyRunning, TryError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start, warm, watch; Ctrl-C stops", description=up.__doc__)
    start.add_argument(
        "--model-store", type=Path, default=Path("model_store"), help="folder of .mar archives (default: model_store)"
    )
    start.add_argument("--dev", action="store_true", help="inference on loopback HTTP instead of a unix socket")
    start.add_argument("--port", type=int, default=0, help="port of --dev (default: a free one)")
    start.add_argument("--status-port", type=int, default=0, help="port of /ready and /metrics (default: a free one)")
    start.add_argument(
        "--drain-seconds", type=float, default=10, help="how long a stop waits for requests in flight (default: 10)"
    )
    start.add_argument(
        "--stop-at-eof",
        action="store_true",
        help="stop when standard input ends: give it a pipe, and the server goes with the process that holds the other end",
    )
    wait = commands.add_parser("wait", help="return when it is ready", description=wait_ready.__doc__)
    wait.add_argument("--seconds", type=float, default=90, help="how long to wait (default: 90)")
    wait.add_argument("--pid", type=int, help="give up when this process is gone")
    stop = commands.add_parser("down", help="stop what runs", description="Stop the server that was started here.")
    attempt = commands.add_parser("try", help="save one answer to look at", description="Ask the running server once.")
    attempt.add_argument("name", help="name of the model")
    attempt.add_argument("--seed", type=int, default=7, help="seed of the first image (default: 7)")
    attempt.add_argument("--n", type=int, default=16, help="how many images, on one contact sheet (default: 16)")
    attempt.add_argument("--params", default="{}", help="further parameters as a JSON object")
    attempt.add_argument("--out", type=Path, default=Path("out"), help="folder to save to (default: out)")
    for command in (start, wait, stop, attempt):
        command.add_argument(
            "--run-dir", type=Path, default=Path("artifacts/serving"), help="state and log of the server"
        )
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
