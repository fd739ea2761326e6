"""python -m benchmarks NAME [--quick] [--json]: measured figures; with --json the last line is one JSON object."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from types import ModuleType

from benchmarks.result import null_for_nan
from export.environment import environment

NAMES = {
    "export": "speed and faithfulness of the certified variants (benchmarks/export.py)",
    "serve": "throughput of the server over the bare engine and other servers, overload (benchmarks/serve.py)",
    "gateway": "what the gateway costs and holds: latency, throughput, streams, a stop (benchmarks/gateway.py)",
    "moderation": "what moderation costs: a prompt against 10,000 words, a picture (benchmarks/moderation.py)",
    "steps": "iteration-level against window batching (benchmarks/steps.py)",
    "audio": "sounds: streams in real time, first audio, what is heard, stock TorchServe (benchmarks/audio.py)",
    "text": "summaries: facts, INT8, tokens through the server (benchmarks/text.py)",
    "soak": "ten minutes of mixed load: failures, growth of memory (benchmarks/soak.py)",
    "faults": "requests that fail or are lost while something is broken on purpose (benchmarks/faults.py)",
}
EXAMPLE_OPTIONS = {"serve": " --model dcgan", "audio": " --only wavenet"}


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark; prints its figures, and with --json one line for machines at the end.

    A benchmark is a module with `run(quick, **own)`, which returns its figures by name, and `options(parser)` where it
    has options of its own. Ctrl-C, SIGTERM and SIGHUP unwind it, so that nothing it started is left running.
    """
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog="example: python -m benchmarks serve --quick --json"
    )
    commands = parser.add_subparsers(dest="name", required=True)
    module: ModuleType | None = None
    for name, text in NAMES.items():
        example = f"example: python -m benchmarks {name} --quick --json{EXAMPLE_OPTIONS.get(name, '')}"
        command = commands.add_parser(name, help=text, description=text, epilog=example)
        command.add_argument("--quick", action="store_true", help="shorter timing, noisier figures")
        command.add_argument("--json", action="store_true", help="end in one JSON line")
        if given[:1] == [name]:  # only the one that runs is imported: some bring torch along
            module = importlib.import_module(f"benchmarks.{name}")
            if hasattr(module, "options"):
                module.options(command)
    options = parser.parse_args(given)
    if module is None:
        parser.error(f"the name of the benchmark comes first: {', '.join(NAMES)}")

    own = {key: value for key, value in vars(options).items() if key not in ("name", "quick", "json")}
    # As Ctrl-C: KeyboardInterrupt, on whose way out everything is stopped.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        figures = null_for_nan(
            {**module.run(options.quick, **own), "environment": environment(), "quick": options.quick}
        )
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130  # as a shell says it after Ctrl-C
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for key, value in figures.items():
        print(f"{key:>20}  {value}")
    if options.json:
        print(json.dumps(figures, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
