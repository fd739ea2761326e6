"""python -m training RECIPE --name NAME [--preset tiny|demo|paper] [--data PATH] [--any-field value] [--restart]

The same command resumes an interrupted run. `python -m training RECIPE --help` lists every field of a recipe.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import signal
import sys
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, arg

from training import recipes
from training.checkpoint import CheckpointError
from training.data import DataError
from training.run import Interrupted, Run, Schedule, TrainingStopped

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, and turn foreseeable failures into one line and exit code 1 (2 for a bad command, 130 for Ctrl-C)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    first = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    rows = "\n".join(f"  {row.name}: {row.about}" for row in recipes.RECIPES.values())
    first.add_argument("recipe", help=f"what to train:\n{rows}")
    if not arguments or arguments[0].startswith("-"):
        first.parse_args(arguments)
    try:
        recipe = recipes.find(arguments[0])
        run, config = _parse(recipe, arguments[1:])
    except (KeyError, ValueError) as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped container saves as Ctrl-C does
    try:
        meta = recipe.load().train(run, config)
    except (CheckpointError, DataError, TrainingStopped, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted:
        print(f"interrupted; everything is saved, the same command goes on from {run.checkpoint}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("interrupted before training had begun; nothing was changed", file=sys.stderr)
        return 130
    figures = ", ".join(f"{key} {value:.4g}" for key, value in meta.metrics.items())
    print(f"step {meta.step}: {run.checkpoint}\n{figures}\npictures and log: {run.folder}")
    return 0


def _parse(recipe: recipes.Recipe, arguments: list[str]) -> tuple[Run, Any]:
    """The preset is looked at first, because it is the default of every other field."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", default="paper")
    preset = early.parse_known_args(arguments)[0].preset
    config, schedule = recipe.config(preset), recipe.load().SCHEDULES[preset]
    command: Any = tyro.cli(
        dataclasses.make_dataclass(
            "Command",
            [
                (
                    "name",
                    Annotated[str, arg(help="name of the model: artifacts/checkpoints/NAME, artifacts/runs/NAME")],
                ),
                (
                    "preset",
                    Annotated[str, arg(help=f"{', '.join(recipe.load().PRESETS)}: what the other fields start from")],
                    preset,
                ),
                ("restart", Annotated[bool, arg(help="discard what is there under this name and begin anew")], False),
                ("config", Annotated[type(config), OmitArgPrefixes], config),
                ("schedule", Annotated[Schedule, OmitArgPrefixes], schedule),
            ],
        ),
        prog=f"python -m training {recipe.name}",
        description=recipe.about,
        args=arguments,
    )
    if not NAME.fullmatch(command.name):
        raise ValueError(f"--name is {command.name!r}, wanted letters, digits, _ and -, at most 64 of them")
    return Run(command.name, recipe.name, command.schedule, command.restart), command.config


if __name__ == "__main__":
    sys.exit(main())
