"""The loop of every recipe: steps, log lines, samples, checkpoints, and a stop at any moment that loses nothing."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tqdm import tqdm

from training import checkpoint
from training.checkpoint import Checkpoint, CheckpointError, Meta
from training.config import RecipeConfig
from training.data import DataSet
from training.interruption import Interrupted, Interruption
from training.learner import Learner
from training.log import Log
from training.pictures import plot_losses
from training.precision import pick_device
from training.run import Run, TrainingStopped, begin_anew, git_commit, resume_point

LINE_SECONDS = 10  # between lines of progress where no terminal shows a bar
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
    if run.restart:
        begin_anew(run)
    step = 0
    if resumed is not None:
        _restore(resumed, work)
        step = resumed.meta.step
    print(f"{run.recipe} '{run.name}': {work.about}, step {step} of {run.schedule.steps}{' (resumed)' if step else ''}")
    return _go_on(run, config, work, resumed.meta if resumed else None, stop_at)


def _restore(resumed: Checkpoint, work: Work) -> None:
    then, now = resumed.meta.data, work.data
    if then["sha256"] != now.sha256:
        raise CheckpointError(
            f"{resumed.path} was trained on {then['name']} ({then['sha256'][:12]}...), the data is now "
            f"{now.name} ({now.sha256[:12]}...); restore the data, or --restart to begin anew"
        )
    work.learner.load(checkpoint.load_model(resumed)[1], checkpoint.load_state(resumed)[1])


def _go_on(run: Run, config: RecipeConfig, work: Work, saved: Meta | None, stop_at: float) -> Meta:
    """Train on from the meta `saved` (None: from nothing) until the schedule, the work or the clock says stop."""
    step = first = saved.step if saved else 0
    metrics: Figures = dict(saved.metrics) if saved else {}
    log = Log(run.folder, step)
    started = said = time.monotonic()
    bar = tqdm(total=run.schedule.steps, initial=step, unit="step", dynamic_ncols=True, disable=None)
    try:
        with Interruption() as interruption:
            while step < run.schedule.steps and not (interruption.asked or work.done() or time.monotonic() >= stop_at):
                losses = work.update(step + 1)
                _check_finite(losses, step + 1, run)
                if step == first:
                    metrics = {}  # those of the checkpoint are not of the steps to come
                step += 1
                bar.update()
                if step % run.schedule.log_every == 0:
                    speed = (step - first) * config.batch_size / (time.monotonic() - started)
                    log.write(step, {**losses, f"{work.unit}_per_s": round(speed, 1)})
                    about = f"{_line(losses)}, {speed:.0f} {work.unit}/s"
                    bar.set_postfix_str(about)
                    if bar.disable and time.monotonic() - said >= LINE_SECONDS:
                        said = time.monotonic()
                        print(f"step {step} of {run.schedule.steps}: {about}, {said - started:.0f} s", flush=True)
                if step % run.schedule.sample_every == 0:
                    figures = work.evaluate(step)
                    metrics = {**losses, **figures}
                    log.write(step, figures)
                    tqdm.write(f"step {step}: {_line(figures)}, {time.monotonic() - started:.0f} s")
                if step % run.schedule.save_every == 0:
                    saved = _save(run, config, work, step, metrics)
            if interruption.asked:
                if saved is None or saved.step != step:
                    _save(run, config, work, step, metrics)
                raise Interrupted
            if saved is None or saved.step != step or work.final not in saved.metrics:
                metrics = {**metrics, **work.finish(step)}
                log.write(step, metrics)
                saved = _save(run, config, work, step, metrics)
    finally:
        bar.close()
        log.close()
        plot_losses(log, run.folder / "losses.png", work.curves, work.right)
    return saved


def _save(run: Run, config: RecipeConfig, work: Work, step: int, metrics: Figures) -> Meta:
    meta = Meta(
        recipe=run.recipe,
        config=dataclasses.asdict(config),
        model=dict(work.model),
        step=step,
        seed=config.seed,
        metrics=metrics,
        data=work.data.provenance(),
        git_commit=git_commit(),
    )
    return checkpoint.save(run.checkpoint, meta, work.learner.served(), work.learner.state(), work.assets)


def _line(figures: Figures) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _check_finite(losses: Figures, step: int, run: Run) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise TrainingStopped(
                f"the {name} loss is {value} at step {step}; training stopped. The checkpoint before it is whole: "
                f"try a lower --learning-rate or --precision fp32 with --restart (log: {run.folder / 'log.jsonl'})"
            )
