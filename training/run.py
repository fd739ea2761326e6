"""What every training run shares: where it logs, how it resumes its log, its pictures. Functions and values, no trainer.

artifacts/runs/NAME/{log.jsonl, losses.png, samples/step-0001000.png}
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training import checkpoint

ROOT = Path("artifacts/runs")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long a run is and how often it saves. Nothing here changes what is learned at a step: a resumed run may differ."""

    steps: int = 100_000
    """train until this step; raising it later continues the same run"""
    max_minutes: float = math.inf
    """stop (whole, exportable and resumable) after this many minutes, if that comes before --steps"""
    save_every: int = 500
    """steps between checkpoints: what a kill can cost"""
    sample_every: int = 1000
    """steps between sample grids and quality figures"""
    log_every: int = 20
    """steps between log lines"""
    device: str = "auto"
    """auto, cpu or cuda"""

    def __post_init__(self) -> None:
        for field in ("steps", "save_every", "sample_every", "log_every"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field.replace('_', '-')} is {getattr(self, field)}, wanted at least 1")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: what it is called, which recipe it follows, for how long."""

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


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has saved a whole step: the same command goes on from there."""


class Interruption:
    """While entered, Ctrl-C and SIGTERM set `asked` in place of raising: a step is never torn in the middle."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # elsewhere signals are not ours to handle
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        self.asked = True


class TrainingStopped(RuntimeError):
    """Training cannot go on (a loss is NaN, the data is too small); the message gives the reason and the remedy."""


def resume_point(run: Run, config: Mapping[str, object]) -> checkpoint.Meta | None:
    """The checkpoint to go on from, or None for a new run. Raises `CheckpointError` if it was made another way."""
    if run.restart or not (run.checkpoint / checkpoint.META).exists():
        return None
    meta = checkpoint.read(run.checkpoint)
    if meta.recipe != run.recipe:
        raise checkpoint.CheckpointError(
            f"{run.checkpoint} was trained by recipe {meta.recipe}, not {run.recipe}; "
            "choose another --name, or --restart to begin anew"
        )
    now = json.loads(json.dumps(config))
    changed = [key for key in sorted({*now, *meta.config}) if now.get(key) != meta.config.get(key)]
    if changed:
        detail = "; ".join(f"{key} was {meta.config.get(key)!r}, now {now.get(key)!r}" for key in changed)
        raise checkpoint.CheckpointError(
            f"{run.checkpoint} was trained with another config ({detail}); "
            "use the same values to resume, another --name, or --restart to begin anew"
        )
    return meta


def begin_anew(run: Run) -> None:
    """Forget what is there under this name; called when everything a new run needs has been checked."""
    checkpoint.discard(run.checkpoint)
    shutil.rmtree(run.folder, ignore_errors=True)


class Log:
    """One JSON line per logged step. Opening it at `step` drops later lines, which a resumed run writes again."""

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        kept = [line for line in self.read() if line["step"] <= step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(temporary, self.path)
        self._file = self.path.open("a", buffering=1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; it is on its way to disk when this returns."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")

    def read(self) -> list[dict[str, float]]:
        """All whole lines so far; a line cut short by a kill is left out."""
        if not self.path.exists():
            return []
        lines: list[dict[str, float]] = []
        for text in self.path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def git_commit() -> str | None:
    """The commit of the working tree, or None outside a checkout."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def save_grid(images: NDArray[np.uint8], path: Path, columns: int = 8, scale: int = 2) -> None:
    """Images (N, S, S, 3) as one PNG, row by row, each pixel enlarged `scale` times."""
    n, side = images.shape[0], images.shape[1]
    rows = -(-n // columns)
    padded = np.zeros((rows * columns, side, side, 3), np.uint8)
    padded[:n] = images
    sheet = padded.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(sheet).resize((sheet.shape[1] * scale, sheet.shape[0] * scale), Image.Resampling.NEAREST)
    temporary = path.with_name(f".{path.name}")
    picture.save(temporary, format="PNG")
    os.replace(temporary, path)


def plot_losses(log: Log, path: Path, curves: tuple[str, ...], right: tuple[str, ...] = ()) -> None:
    """Curves of the log against the step, as a PNG; those of `right` against an axis of their own."""
    from matplotlib.figure import Figure

    lines = log.read()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()

    def points(curve: str) -> list[tuple[float, float]]:
        return [(line["step"], line[curve]) for line in lines if curve in line]

    for curve in curves:
        if points(curve):
            axes.plot(*zip(*points(curve), strict=True), label=curve, linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    shown = [curve for curve in right if points(curve)]
    if shown:
        beside = axes.twinx()
        for curve, style in zip(shown, ("k.--", "C3.:", "C4.-."), strict=False):
            beside.plot(*zip(*points(curve), strict=True), style, label=f"{curve} (right)")
        beside.set_ylim(bottom=0)
        beside.legend(loc="upper right")
    if axes.lines:
        axes.legend(loc="upper left")
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, format="png", dpi=110)
    os.replace(temporary, path)
