"""The loop that every recipe runs in: steps, log lines, samples, checkpoints, and a stop at any moment that loses nothing."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor
from tqdm import tqdm

from training import checkpoint
from training.run import Interrupted, Interruption, Log, Run, TrainingStopped, begin_anew, git_commit, plot_losses

Figures = dict[str, float]


class Provenance(Protocol):
    """What a checkpoint records about its data."""

    @property
    def name(self) -> str:
        """What the data is called, with its version and size."""

    @property
    def sha256(self) -> str:
        """The digest of what is learned from."""

    @property
    def licence(self) -> str:
        """Under which terms it may be used."""

    @property
    def source(self) -> str:
        """Where it came from."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What a recipe does. Steps are counted from 1; a figure is a number with a name, for the log and the metrics."""

    update: Callable[[int], Figures]
    """learn for one step; returns the losses"""
    look: Callable[[int], Figures]
    """save samples of a step; returns figures of quality"""
    finish: Callable[[int], Figures]
    """save samples of the last step; returns the figures that a finished checkpoint carries"""
    final: str
    """a figure that only `finish` gives: by it a finished checkpoint is known"""
    served: Callable[[], Mapping[str, Tensor]]
    """the weights that are sampled, exported and served"""
    state: Callable[[], Mapping[str, Tensor]]
    """everything else that a resumed run needs"""
    unit: str
    """what is counted for the speed: images, bytes"""
    units_per_step: int
    curves: tuple[str, ...]
    """the figures that are plotted"""
    right: tuple[str, ...] = ()
    """figures of another scale, which are plotted against an axis on the right"""
    model: Mapping[str, Any] | None = None
    """what rebuilds the network where the data has a say in it; None: the config's `model` as it is"""
    assets: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """files that belong to the model, by name: a tokenizer"""
    done: Callable[[], bool] = lambda: False
    """whether to end before the schedule does: nothing more is to be gained"""


def take_up(
    run: Run,
    meta: checkpoint.Meta | None,
    data: Provenance,
    load: Callable[[dict[str, Tensor], dict[str, Tensor]], None],
    about: str,
) -> int:
    """Give `load` the served weights and the state of the checkpoint `meta` (None: a new run); returns the step reached.

    Everything that a new run needs has been checked by then: with --restart what is there is forgotten here.
    Raises `CheckpointError` if the checkpoint was trained on other data.
    """
    if run.restart:
        begin_anew(run)
    if meta is not None:
        if meta.data["sha256"] != data.sha256:
            raise checkpoint.CheckpointError(
                f"{run.checkpoint} was trained on {meta.data['name']} ({meta.data['sha256'][:12]}...), the data is now "
                f"{data.name} ({data.sha256[:12]}...); restore the data, or --restart to begin anew"
            )
        load(checkpoint.load_model(run.checkpoint)[1], checkpoint.load_state(run.checkpoint)[1])
    step = meta.step if meta else 0
    print(f"{run.recipe} '{run.name}': {about}, step {step} of {run.schedule.steps}{' (resumed)' if step else ''}")
    return step


def go_on(
    run: Run,
    config: Any,
    data: Provenance,
    work: Work,
    meta: checkpoint.Meta | None,
    stop_at: float,
) -> checkpoint.Meta:
    """Train from the checkpoint `meta` (None: from nothing) to the end of the schedule; returns the last one's meta.

    `config` is the recipe's frozen config: its `model` and `seed` are recorded beside it. `stop_at` is on the clock of
    `time.monotonic`. Raises `TrainingStopped` (NaN), `Interrupted` (asked to stop, all saved) and `OSError` (disk).
    """
    step = first = meta.step if meta else 0
    metrics: Figures = dict(meta.metrics) if meta else {}
    log = Log(run.folder, step)
    started = time.monotonic()
    bar = tqdm(total=run.schedule.steps, initial=step, unit="step", dynamic_ncols=True, disable=None)

    def save() -> checkpoint.Meta:
        return checkpoint.save(
            run.checkpoint,
            checkpoint.Meta(
                recipe=run.recipe,
                config=dataclasses.asdict(config),
                model=dict(dataclasses.asdict(config.model) if work.model is None else work.model),
                step=step,
                seed=config.seed,
                metrics=metrics,
                data={key: getattr(data, key) for key in ("name", "sha256", "licence", "source")},
                git_commit=git_commit(),
            ),
            work.served(),
            work.state(),
            work.assets,
        )

    saved = meta
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
                    speed = (step - first) * work.units_per_step / (time.monotonic() - started)
                    log.write(step, {**losses, f"{work.unit}_per_s": round(speed, 1)})
                    bar.set_postfix_str(f"{_line(losses)}, {speed:.0f} {work.unit}/s")
                if step % run.schedule.sample_every == 0:
                    figures = work.look(step)
                    metrics = {**losses, **figures}
                    log.write(step, figures)
                    tqdm.write(f"step {step}: {_line(figures)}, {time.monotonic() - started:.0f} s")
                if step % run.schedule.save_every == 0:
                    saved = save()
            if interruption.asked:
                if saved is None or saved.step != step:
                    save()
                raise Interrupted
            if saved is None or saved.step != step or work.final not in saved.metrics:
                metrics = {**metrics, **work.finish(step)}
                log.write(step, metrics)
                saved = save()
    finally:
        bar.close()
        log.close()
        plot_losses(log, run.folder / "losses.png", work.curves, work.right)
    return saved


def _line(figures: Figures) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _check_finite(losses: Figures, step: int, run: Run) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise TrainingStopped(
                f"the {name} loss is {value} at step {step}; training stopped. The checkpoint before it is whole: "
                f"try a lower --learning-rate or --precision fp32 with --restart (log: {run.folder / 'log.jsonl'})"
            )
