"""python -m export build|archive|report|verify NAME: a checkpoint to a measured bundle, and to a TorchServe archive."""

from __future__ import annotations

import argparse
import sys

from handlers.manifest import BundleError
from handlers.runtimes.runtime import SessionError

EXAMPLE_OPTIONS = {"build": " --quick"}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a foreseeable failure is one line and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python -m export", description=__doc__, epilog="example: python -m export build dcgan --quick"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "build": "export, compare with PyTorch, try every variant in every runtime, and write artifacts/bundles/NAME",
        "archive": "pack the bundle into model_store/NAME-VERSION.mar and check it",
        "report": "write artifacts/reports/NAME/report.html and report.md from the bundle's certificate",
        "verify": "check the bundle's digests, schema, parity and golden items again",
    }
    parsers = {}
    for command, text in helps.items():
        example = f"example: python -m export {command} dcgan{EXAMPLE_OPTIONS.get(command, '')}"
        parsers[command] = commands.add_parser(command, help=text, description=text, epilog=example)
        parsers[command].add_argument("name", help="name of the trained model")
    tried = parsers["build"]
    tried.add_argument("--variants", nargs="+", metavar="VARIANT", help="forms to try (default: all; fp32 always)")
    tried.add_argument("--runtimes", nargs="+", metavar="RUNTIME", help="runtimes to try (default: all that are here)")
    bounds = "at most 8 s of timing a candidate and 20 s of search a quantized form, else 40 s and 120 s"
    tried.add_argument("--quick", action="store_true", help=f"shorter timing, noisier figures: {bounds}")
    tried.add_argument(
        "--minutes",
        type=float,
        help="of the whole build, after which no form and no candidate begins; what was left out is told, and the same "
        "command with more minutes goes on with it (default: 20, with --quick 8; 0: no bound)",
    )
    tried.add_argument("--calibration", type=int, default=128, help="calibration rows for static INT8 (default: 128)")
    tried.add_argument(
        "--remeasure", action="store_true", help="judge an existing bundle on this machine, adding its device class"
    )
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left", file=sys.stderr)
        return 130
    except Exception as error:
        if not isinstance(error, _foreseeable()):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    # Imported here: torch and the runtimes take seconds, `--help` should not.
    name = arguments.name
    if arguments.command == "build":
        from export.build import build
        from export.options import Options
        from export.remeasure import remeasure
        from export.report import report
        from training.threads import heed_quota

        heed_quota()
        chosen = {key: tuple(value) for key in ("variants", "runtimes") if (value := getattr(arguments, key))}
        options = Options(**chosen, quick=arguments.quick, calibration=arguments.calibration, minutes=arguments.minutes)
        bundle = remeasure(name, options) if arguments.remeasure else build(name, options)
        print(f"report: {report(bundle)}")
    elif arguments.command == "report":
        from export.report import report
        from handlers import bundle as bundles

        print(report(bundles.read(bundles.directory(name))))
    elif arguments.command == "verify":
        from export.verify import verify

        verify(name)
    else:
        from export.archive import archive

        path = archive(name)
        print(f"{path} ({path.stat().st_size:,} bytes), opened again and checked")


def _foreseeable() -> tuple[type[Exception], ...]:
    from export.measure import MeasureError
    from export.options import OptionError
    from export.parity import ParityError
    from export.to_onnx import ExportError
    from training.checkpoint import CheckpointError
    from training.recipes import RecipeError

    return (
        BundleError,
        CheckpointError,
        ExportError,
        MeasureError,
        OptionError,
        OSError,
        ParityError,
        RecipeError,
        SessionError,
    )


if __name__ == "__main__":
    sys.exit(main())
