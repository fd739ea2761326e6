"""Recipe of `dcgan` and `hdgan`: an unconditional image GAN with a non-saturating loss and an averaged generator.

Radford 2015 (arXiv:1511.06434) for the networks, Goodfellow 2014 (arXiv:1406.2661, section 3) for the loss.
Run it with `python -m training dcgan --name NAME --preset demo`.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tyro.conf import OmitArgPrefixes

from training import checkpoint, ema
from training.data import ImageSet, open_images
from training.loop import Figures, Work, go_on, take_up
from training.models.dcgan import Critic, Generator, ModelConfig, build
from training.precision import Precision, PrecisionName, pick, pick_device
from training.run import Run, Schedule, resume_point, save_grid
from training.state import (
    below,
    load_network,
    load_optimizer,
    load_scaler,
    optimizer_tensors,
    scaler_tensors,
)
from training.swd import sliced_wasserstein

GRID = 64  # images in a sample grid
SWD_IMAGES = 512  # images compared at every sample grid; twice as many at the end


@dataclasses.dataclass(frozen=True)
class Config:
    """What is learned. A run resumes only with an equal config."""

    model: Annotated[ModelConfig, OmitArgPrefixes] = ModelConfig()
    data: str = "faces"
    """`faces` for the drawn world, or a directory or .zip of images"""
    world_size: int = 20_000
    """how many faces the drawn world has"""
    mirror: bool = True
    """flip half of the images left to right"""
    batch_size: int = 64
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    ema_half_life_kimg: float = 10.0
    """half-life of the averaged generator, in thousands of images"""
    precision: PrecisionName = "auto"
    """auto: fp16 with a gradient scaler on CUDA, bf16 on CPUs that have it, else fp32"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ValueError(f"--batch-size is {self.batch_size}, wanted at least 2 (BatchNorm needs two images)")
        if self.learning_rate <= 0:
            raise ValueError(f"--learning-rate is {self.learning_rate}, wanted more than 0")


PRESETS = {
    "tiny": Config(ModelConfig(image_size=16, channels=8), world_size=64, batch_size=8, ema_half_life_kimg=0.05),
    "demo": Config(world_size=10_000),
    "paper": Config(world_size=100_000),
}
SCHEDULES = {
    "tiny": Schedule(steps=6, save_every=3, sample_every=3, log_every=1),
    "demo": Schedule(steps=2600, max_minutes=2.7, save_every=200, sample_every=400),
    "paper": Schedule(),
}


@dataclasses.dataclass
class Networks:
    """The moving parts of a run: what a checkpoint's `state` holds, beside the averaged generator."""

    generator: Generator
    critic: Critic
    average: Generator
    optimizers: dict[str, torch.optim.Adam]
    scaler: torch.amp.GradScaler
    random: torch.Generator
    precision: Precision

    @classmethod
    def new(cls, config: Config, device: str) -> Networks:
        """Fresh networks, optimizers and random state, all from the config's seed."""
        precision = pick(config.precision, device)
        generator, critic = build(config.model, config.seed)
        for network in (generator, critic):  # channels-last convolutions are up to a third faster
            network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(generator).eval()

        def adam(network: torch.nn.Module) -> torch.optim.Adam:
            betas = (config.beta1, config.beta2)
            return torch.optim.Adam(network.parameters(), config.learning_rate, betas, fused=True)

        optimizers = {"generator": adam(generator), "critic": adam(critic)}
        random = torch.Generator().manual_seed(config.seed)
        return cls(generator, critic, average, optimizers, precision.scaler(), random, precision)

    def state(self) -> dict[str, Tensor]:
        """Everything but the averaged generator as named tensors."""
        tensors = {f"generator.{k}": v for k, v in self.generator.state_dict().items()}
        tensors |= {f"critic.{k}": v for k, v in self.critic.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            tensors |= optimizer_tensors(name, optimizer)
        tensors |= scaler_tensors(self.scaler)
        tensors["random"] = self.random.get_state()
        return tensors

    def load(self, average: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore what `state` and the averaged generator's weights hold; strict."""
        self.average.load_state_dict(average)
        self.generator.load_state_dict(below(state, "generator."))
        self.critic.load_state_dict(below(state, "critic."))
        for name, optimizer in self.optimizers.items():
            load_optimizer(name, optimizer, state)
        load_scaler(self.scaler, state)
        self.random.set_state(state["random"])

    def step(self, real: Tensor, latent: int) -> dict[str, float]:
        """One update of the critic, then one of the generator. real (B, 3, S, S) in [-1, 1]. Returns the losses."""
        z = torch.randn(len(real), latent, generator=self.random).to(real.device)  # (B, Z)
        with self.precision.cast():
            fake = self.generator(z)
            real_logits, fake_logits = self.critic(real).float(), self.critic(fake.detach()).float()
        critic_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        self._update("critic", critic_loss)
        with self.precision.cast():
            logits = self.critic(fake).float()
        generator_loss = F.softplus(-logits).mean()  # non-saturating: -log D(G(z)), section 3 of Goodfellow 2014
        self._update("generator", generator_loss)
        self.scaler.update()
        return {"generator": float(generator_loss.detach()), "critic": float(critic_loss.detach())}

    def _update(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)

    @torch.no_grad()
    def sample(self, z: Tensor) -> NDArray[np.uint8]:
        """Images (B, S, S, 3) of the averaged generator for latents z (B, Z)."""
        device = next(self.average.parameters()).device
        images = torch.cat([self.average(part.to(device)) for part in torch.split(z, 64)])
        return ((images + 1) * 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def train(run: Run, config: Config) -> checkpoint.Meta:
    """Train from the last checkpoint of `run` (or from nothing) to the end of its schedule; returns the last checkpoint's meta.

    Raises `CheckpointError` (made another way), `DataError` (bad data), `TrainingStopped` (NaN), `OSError` (disk).
    """
    stop_at = time.monotonic() + 60 * run.schedule.max_minutes
    device = pick_device(run.schedule.device)
    meta = resume_point(run, dataclasses.asdict(config))
    data = open_images(config.data, config.model.image_size, config.world_size, at_least=config.batch_size)
    for name in data.skipped:
        print(f"skipped {name}")
    networks = Networks.new(config, device)
    about = f"{len(data.images)} images of {data.name}, {device} {networks.precision}"
    step = take_up(run, meta, data, networks.load, about)
    return go_on(run, config, data, _work(run, config, data, networks, step), meta, stop_at)


def _work(run: Run, config: Config, data: ImageSet, networks: Networks, step: int) -> Work:
    fixed = torch.randn(SWD_IMAGES, config.model.latent, generator=torch.Generator().manual_seed(config.seed + 1))
    pixels = torch.from_numpy(data.images)
    batches = _batches(len(pixels), config, step)

    def update(step: int) -> Figures:
        losses = networks.step(_to_float(pixels, next(batches), networks, config), config.model.latent)
        decay = ema.half_life_decay(step * config.batch_size, config.batch_size, config.ema_half_life_kimg)
        ema.update(networks.average, networks.generator, decay)
        return losses

    return Work(
        update=update,
        look=lambda step: {"swd": _picture(run, networks, data, fixed, step)},
        finish=lambda step: _final_metrics(run, networks, data, fixed, step, config),
        final="swd_floor",
        served=networks.average.state_dict,
        state=networks.state,
        unit="images",
        units_per_step=config.batch_size,
        curves=("generator", "critic"),
        right=("swd",),
    )


def _batches(count: int, config: Config, step: int) -> Iterator[Tensor]:
    """Indices (B,) of the batches from `step` on: epoch e is a permutation drawn from (seed, e) alone."""
    per_epoch = count // config.batch_size
    while True:
        epoch, batch = divmod(step, per_epoch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(config.seed * 1_000_003 + epoch))
        for at in range(batch, per_epoch):
            yield order[at * config.batch_size : (at + 1) * config.batch_size]
            step += 1


def _to_float(pixels: Tensor, indices: Tensor, networks: Networks, config: Config) -> Tensor:
    """uint8 (N, S, S, 3) at `indices` -> float (B, 3, S, S) in [-1, 1], half of them mirrored."""
    images = pixels[indices].permute(0, 3, 1, 2).float() / 127.5 - 1
    if config.mirror:
        flip = torch.rand(len(images), generator=networks.random) < 0.5
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
    device = next(networks.critic.parameters()).device
    return images.to(device, memory_format=torch.channels_last)


def _picture(run: Run, networks: Networks, data: ImageSet, fixed: Tensor, step: int) -> float:
    """Save the grid of the fixed latents and return their distance to the first real images."""
    images = networks.sample(fixed)
    save_grid(images[:GRID], run.folder / "samples" / f"step-{step:07d}.png")
    count = min(len(images), len(data.images))
    return _mean_distance(images[:count], data.images[:count])


def _final_metrics(
    run: Run, networks: Networks, data: ImageSet, fixed: Tensor, step: int, config: Config
) -> dict[str, float]:
    _picture(run, networks, data, fixed, step)
    count = min(2 * SWD_IMAGES, len(data.images) // 2)
    z = torch.randn(count, config.model.latent, generator=torch.Generator().manual_seed(config.seed + 2))
    return {
        "swd": _mean_distance(networks.sample(z), data.images[:count]),
        "swd_floor": _mean_distance(data.images[count : 2 * count], data.images[:count]),  # real against real
    }


def _mean_distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    levels = sliced_wasserstein(a, b)
    return round(sum(levels.values()) / len(levels), 3)


def load_generator(path: Path) -> tuple[checkpoint.Meta, Generator]:
    """The averaged generator of a checkpoint directory, in evaluation mode. Raises `CheckpointError`."""
    return load_network(path, lambda model: Generator(ModelConfig(**model)))
