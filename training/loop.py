"""The loop of every recipe: steps, log lines, samples, checkpoints, and a stop at any moment that loses nothing."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from training import checkpoint
from training.checkpoint import Checkpoint, CheckpointError, Meta
from training.config import RecipeConfig
from training.data import DataSet
from training.interruption import Interrupted, Interruption
from training.learner import Learner
from training.log import Log
from training.pictures import plot_losses
from training.precision import pick_device
from training.progress import Progress, say
from training.run import Run, TrainingStopped, begin_anew, git_commit, resume_point

Config = TypeVar("Config", bound=RecipeConfig)
Figures = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Work:
    """The parts of a recipe that the loop calls. Steps are counted from 1; a figure is a number with a name."""

    data: DataSet
    learner: Learner
    about: str
    """data, device and number format in a few words, for the first line"""
    model: Mapping[str, Any]
    """the model config that rebuilds the network: what a dataclass' `asdict` gives"""
    update: Callable[[int], Figures]
    """learn for one step; returns the losses"""
    evaluate: Callable[[int], Figures]
    """save samples of a step; returns figures of quality"""
    finish: Callable[[int], Figures]
    """save samples of the last step; returns the figures that a finished checkpoint carries"""
    final: str
    """a figure that only `finish` gives: by it a finished checkpoint is known"""
    unit: str
    """the plural of what a batch holds, for the speed: images, texts, pairs"""
    curves: tuple[str, ...]
    """the figures that are plotted"""
    right: tuple[str, ...] = ()
    """figures of another scale, which are plotted against an axis on the right"""
    assets: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """files that belong to the model, by name: a tokenizer"""
    done: Callable[[], bool] = lambda: False
    """whether to end before the schedule does: nothing more is to be gained"""


def train(run: Run, config: Config, prepare: Callable[[Run, Config, str, Checkpoint | None], Work]) -> Meta:
    """Train from the last checkpoint of `run`, or from nothing, to the end of its schedule; returns the last meta.

    `prepare(run, config, device, resumed)` opens the data and builds the recipe's work; `resumed` is the checkpoint to
    go on from, or None. With --restart what is there is forgotten only after that: everything has been checked by then.

    Raises `CheckpointError` (made another way, or from other data), `ConfigError` (a device or number format that is
    not here), `DataError` (bad data), `TrainingStopped` (NaN), `Interrupted` (asked to stop, all saved) and `OSError`
    (disk).
    """
    stop_at = time.monotonic() + 60 * run.schedule.max_minutes
    device = pick_device(run.schedule.device)
    resumed = resume_point(run, dataclasses.asdict(config))
    work = prepare(run, config, device, resumed)
    with Interruption() as interruption:
        if run.restart:
            begin_anew(run)
        step = 0
        if resumed is not None:
            _restore(resumed, work)
            step = resumed.meta.step
        for line in work.data.told():
            say(line)
        begins = f"step {step} of {run.schedule.steps}{' (resumed)' if step else ''}"
        say(f"{run.recipe} '{run.name}': {work.about}, {begins}")
        return _Course(run, config, work, resumed.meta if resumed else None, stop_at).go_on(interruption)


def _restore(resumed: Checkpoint, work: Work) -> None:
    then, now = resumed.meta.data, work.data
    if then["sha256"] != now.sha256:
        raise CheckpointError(
            f"{resumed.path} was trained on {then['name']} ({then['sha256'][:12]}...), the data is now "
            f"{now.name} ({now.sha256[:12]}...); restore the data, or --restart to begin anew"
        )
    work.learner.load(checkpoint.load_model(resumed)[1], checkpoint.load_state(resumed)[1])


class _Course:
    """The way of a run from the meta `saved` (None: from nothing) until schedule, work or clock says stop."""

    def __init__(self, run: Run, config: RecipeConfig, work: Work, saved: Meta | None, stop_at: float) -> None:
        self.run, self.config, self.work, self.saved, self.stop_at = run, config, work, saved, stop_at
        self.step = self.first = saved.step if saved else 0
        self.metrics: Figures = dict(saved.metrics) if saved else {}
        self.log = Log(run.folder, self.step)
        self.started = time.monotonic()
        self.progress = Progress("step", run.schedule.steps, "step", self.step, stop_at)

    def go_on(self, interruption: Interruption) -> Meta:
        """Train, and leave a whole checkpoint whatever happens."""
        try:
            self._learn(interruption)
            return self._finish(interruption)
        except Interrupted:
            if self.saved is None or self.saved.step != self.step:
                self._save()
            raise
        finally:
            self._close()

    def _learn(self, interruption: Interruption) -> None:
        run, work = self.run, self.work
        if self._look_is_missing():
            self._look(interruption, self.metrics)
        while self.step < run.schedule.steps and not (work.done() or time.monotonic() >= self.stop_at):
            if interruption.asked:
                raise Interrupted
            losses = work.update(self.step + 1)
            _check_finite(losses, self.step + 1, run)
            if self.step == self.first:
                self.metrics = {}  # those of the checkpoint are not of the steps to come
            self.step += 1
            self.progress.advance()
            if self.step % run.schedule.log_every == 0:
                speed = (self.step - self.first) * self.config.batch_size / (time.monotonic() - self.started)
                self.log.write(self.step, {**losses, self._speed: round(speed, 1)})
                self.progress.tell(f"{_line(losses)}, {speed:.0f} {work.unit}/s")
            if self.step % run.schedule.sample_every == 0:
                self._look(interruption, losses)
            if self.step % run.schedule.save_every == 0:
                self._save()

    def _look(self, interruption: Interruption, losses: Figures) -> None:
        self.metrics = dict(losses)
        with interruption.breakable():
            figures = self.work.evaluate(self.step)
        self.metrics |= figures
        self.log.write(self.step, figures)
        say(f"step {self.step}: {_line(figures)}, {time.monotonic() - self.started:.0f} s")

    def _look_is_missing(self) -> bool:
        """Whether the last run was asked to stop while it looked at the step that it has saved."""
        if self.saved is None or self.step % self.run.schedule.sample_every or self.work.final in self.saved.metrics:
            return False
        return not any(line["step"] == self.step and self._speed not in line for line in self.log.read())

    def _finish(self, interruption: Interruption) -> Meta:
        if self.saved is None or self.saved.step != self.step or self.work.final not in self.saved.metrics:
            with interruption.breakable():
                figures = self.work.finish(self.step)
            self.metrics = {**self.metrics, **figures}
            self.log.write(self.step, self.metrics)
            return self._save()
        return self.saved

    @property
    def _speed(self) -> str:
        """The figure that a line of losses has, and one of quality has not."""
        return f"{self.work.unit}_per_s"

    def _save(self) -> Meta:
        work = self.work
        meta = Meta(
            recipe=self.run.recipe,
            config=dataclasses.asdict(self.config),
            model=dict(work.model),
            step=self.step,
            seed=self.config.seed,
            metrics=self.metrics,
            data=work.data.provenance(),
            git_commit=git_commit(),
        )
        self.saved = checkpoint.save(
            self.run.checkpoint, meta, work.learner.served(), work.learner.state(), work.assets
        )
        return self.saved

    def _close(self) -> None:
        """Draw the losses; an error of that hides no other one, and undoes nothing."""
        self.progress.close()
        self.log.close()
        try:
            plot_losses(self.log, self.run.folder / "losses.png", self.work.curves, self.work.right)
        except OSError as error:
            say(f"the losses are not drawn: {error.strerror or error}", error=True)


def _line(figures: Figures) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _check_finite(losses: Figures, step: int, run: Run) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise TrainingStopped(
                f"the {name} loss is {value} at step {step}; training stopped. The checkpoint before it is whole: "
                f"try a lower --learning-rate or --precision fp32 with --restart (log: {run.folder / 'log.jsonl'})"
            )
