"""`python -m gateway provenance certificate --out DIR`: a certificate to try signatures with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.provenance import trial
from gateway.provenance.certificates import TRIAL, CertificateError

CERTIFICATE = (
    f"Make a certificate that signs files for {trial.DAYS} days, for trials: nobody vouches for it, readers say so. "
    "For files that others are to trust, have one issued by an authority of C2PA's trust list."
)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `provenance` and its command to those of `python -m gateway`."""
    raw = argparse.RawDescriptionHelpFormatter
    example = "example: python -m gateway provenance certificate --out certificates"
    parser = commands.add_parser(
        "provenance", help="certificates that sign files", description=__doc__, epilog=example, formatter_class=raw
    )
    below = parser.add_subparsers(dest="provenance_command", required=True, metavar="{certificate}")
    made = below.add_parser(
        "certificate", help=CERTIFICATE, description=CERTIFICATE, epilog=example, formatter_class=raw
    )
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that has none yet")


def run(options: argparse.Namespace) -> int:
    """Run it; a foreseeable failure is one message and exit code 1."""
    folder: Path = options.out.absolute()
    try:
        trial.make(folder)
    except CertificateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"a certificate {TRIAL}, valid {trial.DAYS} days; in the settings of the gateway:\n")
    names = [("certificate", trial.CHAIN), ("key", trial.KEY)]
    print("[signature]\n" + "\n".join(f'{name} = "{folder / file}"' for name, file in names) + '\nalgorithm = "es256"')
    return 0
