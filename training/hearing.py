"""A small classifier of sounds that is trained on a world alone: it says what it hears in what a network has made.

It hears one or more things at once, each either a class or a number. Trained in seconds, always in the same way on one
thread, and kept as `hearing-DIGEST.safetensors`, where the digest is that of the lesson's name: worlds have a version.

Dimensions: B or N sounds, T samples, C channels and F frames of a spectrogram.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from training import files, mel
from training.models.hearing import Listener
from training.progress import say

VERSION = 1  # raise it when the network or the way it is trained changes
CACHE = Path("artifacts/cache")
WANTED = 0.98  # of the held-out items: a classifier that hears less judges nothing
STEPS, BATCH = 200, 64
RATE = 3e-3  # of Adam at its highest
_SHIFT = 0.15  # the part of a clip by which it is moved at most
_SPREAD = 1.2  # of the level, natural logarithm
_NOISE = (-9.0, -4.0)  # natural logarithm of the level of a floor of noise
_AT_ONCE = 256
Truth = Mapping[str, NDArray[np.generic]]


class HearingError(ValueError):
    """A classifier that cannot hear its own world; the message gives the share and the thing."""


@dataclasses.dataclass(frozen=True)
class Thing:
    """What is to be heard."""

    name: str
    classes: int = 0
    """how many there are; 0: it is a number"""
    within: float = 0.0
    """of a number: how far it may be off and count as heard right"""


@dataclasses.dataclass(frozen=True)
class Sounds:
    """Sounds and what is in them."""

    waves: NDArray[np.float32]
    """(N, T) in [-1, 1]"""
    truth: Truth
    """by the name of the thing (N,): the class, or the number"""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a classifier is trained on. Two lessons of one name hold the same."""

    name: str
    rate: int
    things: tuple[Thing, ...]
    material: Callable[[], tuple[Sounds, Sounds]]
    """the sounds to learn from, and those to measure on; called only if there is no trained classifier"""
    view: Callable[[Tensor, int], Tensor] | None = None
    """waves (B, T) and their rate -> what the network reads (B, C, F), natural logarithms; None: log-mel"""


class Hearing:
    """A trained classifier."""

    def __init__(self, lesson: Lesson, network: Listener, scale: Tensor, accuracy: dict[str, float]) -> None:
        self.lesson, self.network, self._scale = lesson, network, scale
        self.accuracy = accuracy
        """by the name of the thing: the share of the held-out items that it hears right"""

    @torch.no_grad()
    def heard(self, waves: Tensor) -> dict[str, NDArray[np.generic]]:
        """By the name of the thing (B,): the class (int64) or the number (float32), of waves (B, T) in [-1, 1]."""
        parts = [self.network(_view(self.lesson, part)) for part in torch.split(waves.float().cpu(), _AT_ONCE)]
        return _read(self.lesson.things, torch.cat(parts), self._scale)


def trained(lesson: Lesson, cache: Path = CACHE, wanted: float = WANTED) -> Hearing:
    """The classifier of a lesson, from the folder `cache` if it is there. Raises `HearingError` under `wanted`."""
    key = hashlib.sha256(json.dumps([VERSION, lesson.name]).encode()).hexdigest()
    path = cache / f"hearing-{key[:16]}.safetensors"
    found = _kept(lesson, path)
    if found is not None:
        return found
    with _one_thread():
        hearing, tensors = _train(lesson)
    for thing in lesson.things:
        if hearing.accuracy[thing.name] < wanted:
            right = hearing.accuracy[thing.name]
            raise HearingError(
                f"the classifier of {lesson.name} hears {thing.name} in {right:.3f} of its own items, wanted {wanted}"
            )
    try:
        files.write(path, save(tensors))
    except OSError as error:
        say(f"the classifier is not kept: {error.strerror or error}")
    return hearing


def share_right(hearing: Hearing, waves: Tensor, truth: Truth) -> dict[str, float]:
    """By the name of the thing: in how much of the waves (B, T) it is heard as `truth` says."""
    return _right(hearing.lesson.things, hearing.heard(waves), truth)


def _kept(lesson: Lesson, path: Path) -> Hearing | None:
    """What an earlier training has left, if it is whole."""
    try:
        tensors = load(path.read_bytes())
        scale, shares = tensors.pop("scale"), tensors.pop("accuracy").tolist()
        network = Listener(len(tensors["normal.weight"]), _outputs(lesson.things))
        network.load_state_dict(tensors)
    except Exception:  # safetensors and torch fail in many ways on a damaged file; it is made anew
        return None
    names = [thing.name for thing in lesson.things]
    return Hearing(lesson, network.eval(), scale, dict(zip(names, shares, strict=True)))


def _train(lesson: Lesson) -> tuple[Hearing, dict[str, Tensor]]:
    learned, kept = lesson.material()
    things = lesson.things
    read = _view(lesson, torch.from_numpy(learned.waves))  # (N, C, F)
    scale = torch.tensor([_scale(thing, learned.truth[thing.name]) for thing in things])  # (things, 2)
    random = torch.Generator().manual_seed(VERSION)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(VERSION)
        network = Listener(read.shape[1], _outputs(things))
    adam = torch.optim.Adam(network.parameters(), RATE)
    truth = [torch.from_numpy(np.ascontiguousarray(learned.truth[thing.name])) for thing in things]
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = RATE * 0.5 * (1.0 + math.cos(math.pi * step / STEPS))
        chosen = torch.randint(len(read), (BATCH,), generator=random)
        outputs = network(_disturbed(read[chosen], random))
        loss = _loss(things, outputs, [values[chosen] for values in truth], scale)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    hearing = Hearing(lesson, network.eval(), scale, {})
    hearing.accuracy = share_right(hearing, torch.from_numpy(kept.waves), kept.truth)
    shares = torch.tensor([hearing.accuracy[thing.name] for thing in things], dtype=torch.float64)
    return hearing, {**network.state_dict(), "scale": scale, "accuracy": shares}


def _view(lesson: Lesson, waves: Tensor) -> Tensor:
    parts = [(lesson.view or _log_mel)(part, lesson.rate) for part in torch.split(waves, _AT_ONCE)]
    return torch.cat(parts)


def _log_mel(waves: Tensor, rate: int) -> Tensor:
    """Means of two bands and two frames: (B, 40, F / 2)."""
    return F.avg_pool2d(mel.log_mel(waves, rate)[:, None], 2, ceil_mode=True)[:, 0]


def _disturbed(read: Tensor, random: torch.Generator) -> Tensor:
    """Spectrograms (B, C, F), each a little later or earlier, louder or softer, and above a floor of noise."""
    count, _, frames = read.shape
    most = max(1, int(_SHIFT * frames))
    places = torch.arange(frames) - torch.randint(-most, most + 1, (count, 1), generator=random)
    moved = read.gather(2, places.clamp(0, frames - 1)[:, None].expand_as(read))
    level = _SPREAD * (torch.rand(count, 1, 1, generator=random) - 0.5)
    floor = _NOISE[0] + (_NOISE[1] - _NOISE[0]) * torch.rand(count, 1, 1, generator=random)
    ripple = 0.3 * torch.randn(read.shape, generator=random)
    return torch.logaddexp(moved + level, floor + ripple)


def _outputs(things: tuple[Thing, ...]) -> int:
    return sum(thing.classes or 1 for thing in things)


def _scale(thing: Thing, truth: NDArray[np.generic]) -> tuple[float, float]:
    """Mean and standard deviation of a number: the network gives it in these units."""
    values = truth.astype(np.float64)
    return (0.0, 1.0) if thing.classes else (float(values.mean()), float(values.std()) or 1.0)


def _loss(things: tuple[Thing, ...], outputs: Tensor, truth: list[Tensor], scale: Tensor) -> Tensor:
    parts = torch.split(outputs, [thing.classes or 1 for thing in things], dim=1)
    losses = [
        F.cross_entropy(part, values) if thing.classes else F.mse_loss(part[:, 0], (values.float() - mean) / spread)
        for thing, part, values, (mean, spread) in zip(things, parts, truth, scale, strict=True)
    ]
    return torch.stack(losses).sum()


def _read(things: tuple[Thing, ...], outputs: Tensor, scale: Tensor) -> dict[str, NDArray[np.generic]]:
    parts = torch.split(outputs, [thing.classes or 1 for thing in things], dim=1)
    return {
        thing.name: (part.argmax(dim=1) if thing.classes else part[:, 0] * spread + mean).numpy()
        for thing, part, (mean, spread) in zip(things, parts, scale, strict=True)
    }


def _right(things: tuple[Thing, ...], heard: Truth, truth: Truth) -> dict[str, float]:
    found = {}
    for thing in things:
        off = np.abs(heard[thing.name].astype(np.float64) - truth[thing.name].astype(np.float64))
        found[thing.name] = float((off <= thing.within).mean())
    return found


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread inside: sums of several would come out in another order on another machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
