"""python -m export build|archive|verify NAME: a trained checkpoint to a measured bundle, and on to a TorchServe archive."""

from __future__ import annotations

import argparse
import sys

from handlers.bundle import BundleError
from handlers.sessions import SessionError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a foreseeable failure is one line and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "build": "export, compare with PyTorch, measure, and write artifacts/bundles/NAME",
        "archive": "pack the bundle into model_store/NAME-VERSION.mar and check it",
        "verify": "check the bundle's digests, schema, parity and golden items again",
    }
    for command, text in helps.items():
        commands.add_parser(command, help=text, description=text).add_argument("name", help="name of the trained model")
    options = parser.parse_args(arguments)
    try:
        _run(options.command, options.name)
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left", file=sys.stderr)
        return 130
    except Exception as error:
        if not isinstance(error, _foreseeable()):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(command: str, name: str) -> None:
    # Imported here: torch and the runtimes take seconds, `--help` should not.
    if command == "build":
        from export.build import build

        build(name)
    elif command == "verify":
        from export.verify import verify

        verify(name)
    else:
        from export.archive import archive

        path = archive(name)
        print(f"{path} ({path.stat().st_size:,} bytes), opened again and checked")


def _foreseeable() -> tuple[type[Exception], ...]:
    from export.measure import MeasureError
    from export.parity import ParityError
    from training.checkpoint import CheckpointError

    return (BundleError, CheckpointError, ParityError, MeasureError, SessionError, OSError)


if __name__ == "__main__":
    sys.exit(main())
