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
from tyro.conf import AvoidSubcommands, OmitArgPrefixes, SuppressFixed, arg

from training import recipes
from training.checkpoint import CheckpointError
from training.checks import ConfigError, refuse
from training.data import DataError
from training.interruption import Interrupted
from training.pretrained import PretrainedError
from training.recipes import RecipeError
from training.run import Run, Schedule, TrainingStopped

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def main(arguments: list[str] | None = None) -> int:
    """Parse and train; a foreseeable failure is one line and exit code 1 (2 for a bad command, 130 for Ctrl-C).

    Any other error is a defect and keeps its traceback.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    first = argparse.ArgumentParser(
        prog="python -m training",
        description=__doc__,
        epilog=_example("dcgan"),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    rows = "\n".join(f"  {row.name}: {row.about}" for row in recipes.RECIPES.values())
    first.add_argument("recipe", help=f"what to train:\n{rows}")
    if not arguments or arguments[0].startswith("-"):
        first.parse_args(arguments)
    try:
        recipe = recipes.find(arguments[0])
        run, config = _parse(recipe, arguments[1:])
    except (ConfigError, RecipeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped container saves as Ctrl-C does
    try:
        meta = recipe.load().train(run, config)
    except (CheckpointError, ConfigError, DataError, OSError, PretrainedError, TrainingStopped) as error:
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
    name_help = "name of the model: artifacts/checkpoints/NAME, artifacts/runs/NAME"
    preset_help = f"{', '.join(recipe.load().PRESETS)}: the values that the other fields start from"
    restart_help = "discard what is there under this name and begin anew"
    fields: list[Any] = [
        ("name", Annotated[str, arg(help=name_help)]),
        ("preset", Annotated[str, arg(help=preset_help)], preset),
        ("restart", Annotated[bool, arg(help=restart_help)], False),
        ("config", type(config), config),
        ("schedule", Schedule, schedule),
    ]
    command: Any = tyro.cli(
        dataclasses.make_dataclass("Command", fields),
        prog=f"python -m training {recipe.name}",
        description=f"{recipe.about}\n\n{_example(recipe.name)}",
        args=arguments,
        # Fields are options by their own name; what no option can give (the sizes of a BERT) is no option.
        config=(OmitArgPrefixes, AvoidSubcommands, SuppressFixed),
    )
    if not NAME.fullmatch(command.name):
        raise refuse("name", repr(command.name), "letters, digits, _ and -, at most 64 of them")
    return Run(command.name, recipe.name, command.schedule, command.restart), command.config


def _example(recipe: str) -> str:
    return f"example: python -m training {recipe} --name mine --preset demo"


if __name__ == "__main__":
    sys.exit(main())
