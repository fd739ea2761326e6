"""python -m gateway [serve]|keys|users|moderation|provenance|data: the door, who may pass, what, and what is kept."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from gateway import logs
from gateway.accounts import commands as keys_commands
from gateway.accounts import users_commands
from gateway.data import commands as data_commands
from gateway.moderation import commands as moderation_commands
from gateway.provenance import commands as provenance_commands
from gateway.settings import SettingsError, load

SERVE = "Serve the models of a launcher over HTTP until Ctrl-C or SIGTERM, which lets what is under way end."
EXAMPLE = """example:
  python -m gateway serve --settings gateway.toml
  ATELIER_GATEWAY_PORT=9000 python -m gateway serve

gateway.toml:
  port = 8080
  run_dir = "artifacts/serving"
  aliases = { gpt-image-1 = "dcgan" }
"""


COMMANDS: dict[str, Any] = {
    "keys": keys_commands,
    "users": users_commands,
    "moderation": moderation_commands,
    "provenance": provenance_commands,
    "data": data_commands,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a foreseeable failure is one message and exit code 1."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given = ["serve", *given]
    options = _parser().parse_args(given)
    if options.command in COMMANDS:
        code: int = COMMANDS[options.command].run(options)
        return code
    try:
        settings = load(options.settings, os.environ)
        logs.configure(settings.log_level)
        from gateway.server import serve

        serve(settings)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="The door to what is served: HTTP as clients know it. Without a command: serve.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve", help=SERVE, description=SERVE, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    serve.add_argument("--settings", type=Path, metavar="FILE", help="settings as TOML (docs/gateway.md lists them)")
    for module in COMMANDS.values():
        module.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
