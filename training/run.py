"""One training run: its name, its schedule, where it writes, and the checkpoint it goes on from.

artifacts/runs/NAME/{log.jsonl, losses.png, samples/step-0001000.png or .txt}
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from training import checkpoint, checks

ROOT = Path("artifacts/runs")
# What was decoded (training/data/decoded.py, sound_store.py) belongs to the data, not to the run.
KEPT = ("images.u8", "images.json", "sounds.i16", "sounds.json")
# Fields of configs by their former names, with which checkpoints may still record them.
_RENAMED = {f"ema_half_life_{unit}": "ema_half_life_kitems" for unit in ("kimg", "krows", "kpairs")}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The length of a run, and how often it saves and logs.

    Nothing here changes what is learned at a step: a run may resume with another schedule.
    """

    steps: int = 100_000
    """train until this step; raising it later continues the same run"""
    max_minutes: float = math.inf
    """stop (whole, exportable and resumable) after this many minutes, if that comes before --steps"""
    save_every: int = 500
    """steps between checkpoints: what a kill can cost"""
    sample_every: int = 1000
    """steps between samples and quality figures"""
    log_every: int = 20
    """steps between log lines"""
    device: str = "auto"
    """auto, cpu or cuda"""

    def __post_init__(self) -> None:
        checks.at_least(self, steps=1, save_every=1, sample_every=1, log_every=1)


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a recipe under a name."""

    name: str
    recipe: str
    schedule: Schedule
    restart: bool = False

    @property
    def checkpoint(self) -> Path:
        """The checkpoint directory of this run."""
        return checkpoint.directory(self.name)

    @property
    def folder(self) -> Path:
        """The folder of the log and pictures."""
        return ROOT / self.name

    def sample_file(self, step: int, suffix: str) -> Path:
        """Where the samples of a step are saved; `suffix` begins with a dot."""
        return self.folder / "samples" / f"step-{step:07d}{suffix}"


class TrainingStopped(RuntimeError):
    """Training cannot go on (a loss is NaN); the message gives the reason and the remedy."""


def resume_point(run: Run, config: Mapping[str, object]) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from, or None for a new run. Raises `CheckpointError` if it was made another way."""
    if run.restart or not (run.checkpoint / checkpoint.META).exists():
        return None
    found = checkpoint.opened(run.checkpoint)
    meta = found.meta
    if meta.recipe != run.recipe:
        raise checkpoint.CheckpointError(
            f"{run.checkpoint} was trained by recipe {meta.recipe}, not {run.recipe}; "
            "choose another --name, or --restart to begin anew"
        )
    now = json.loads(json.dumps(config))
    then = {_RENAMED.get(key, key): value for key, value in meta.config.items()}
    changed = [key for key in sorted({*now, *then}) if now.get(key) != then.get(key)]
    if changed:
        detail = "; ".join(f"{key} was {then.get(key)!r}, now {now.get(key)!r}" for key in changed)
        raise checkpoint.CheckpointError(
            f"{run.checkpoint} was trained with another config ({detail}); "
            "use the same values to resume, another --name, or --restart to begin anew"
        )
    return found


def begin_anew(run: Run) -> None:
    """Forget what is there under this name; called when everything a new run needs has been checked."""
    checkpoint.discard(run.checkpoint)
    for path in run.folder.iterdir() if run.folder.is_dir() else ():
        if path.name not in KEPT:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def git_commit() -> str | None:
    """The commit of the working tree, or None outside a checkout."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
