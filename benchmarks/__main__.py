"""python -m benchmarks NAME [--quick] [--json]: measured figures, the last line of output one JSON object."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys

NAMES = {
    "export": "how much faster and how faithful the certified variants are (benchmarks/export.py)",
    "serve": "how near the bare engine the server comes, and others beside it (benchmarks/serve.py)",
    "steps": "requests that join and leave between steps, against windows (benchmarks/steps.py)",
    "soak": "ten minutes of mixed load: failures, growth of memory (benchmarks/soak.py)",
    "faults": "what breaking everything on purpose costs in requests (benchmarks/faults.py)",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark; prints its figures, and with --json one line for machines at the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, text in NAMES.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--quick", action="store_true", help="shorter timing, noisier figures")
        command.add_argument("--json", action="store_true", help="end in one JSON line")
        if name == "serve":
            command.add_argument("--model", default="hdgan", help="recipe whose paper size is served (default: hdgan)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever was started is stopped on the way out
    own = {key: value for key, value in vars(options).items() if key not in ("name", "quick", "json")}
    try:
        figures = importlib.import_module(f"benchmarks.{options.name}").run(options.quick, **own)
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    for key, value in figures.items():
        print(f"{key:>20}  {value}")
    if options.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
