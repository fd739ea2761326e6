"""Recipe of `dcgan` and `hdgan`: an unconditional image GAN with a non-saturating loss and an averaged generator.

Radford 2015 (arXiv:1511.06434) for the networks, Goodfellow 2014 (arXiv:1406.2661, section 3) for the loss.
Run it with `python -m training dcgan --name NAME --preset demo`.

Dimensions: B images of a batch, Z latent, S side of an image in pixels.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training import ema, evaluate_images, loop
from training.batches import epochs
from training.checkpoint import Checkpoint, Meta
from training.checks import refuse
from training.config import RecipeConfig
from training.data.images import open_images
from training.gan import falling, r1
from training.loop import Figures, Work
from training.models.dcgan import Generator, ModelConfig, build
from training.optimization import Optimization
from training.precision import pick
from training.run import Run, Schedule
from training.state import load_network, load_networks, network_tensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RecipeConfig):
    """The config of the recipe."""

    model: ModelConfig = ModelConfig()
    data: str = "faces"
    """`faces` for the drawn world, or directories or .zip files of images, divided by commas"""
    world_size: int = 20_000
    """how many faces the drawn world has"""
    mirror: bool = True
    """flip half of the images left to right"""
    learning_rate: float = 2e-4
    """of Adam, for both networks"""
    fall_steps: int | None = None
    """steps in whose second half the learning rate falls to nothing, evenly; absent: it never falls"""
    penalty: float | None = None
    """weight of the critic's squared gradient at real images (R1), which keeps it from winning; absent: none"""
    beta1: float = 0.5
    beta2: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 2:
            raise refuse("batch_size", self.batch_size, "at least 2 (BatchNorm needs two images)")
        if self.fall_steps is not None and self.fall_steps < 2:
            raise refuse("fall_steps", self.fall_steps, "at least 2, or none: the learning rate never falls")
        if self.penalty is not None and not 0 < self.penalty < math.inf:
            raise refuse("penalty", self.penalty, "more than 0, or none")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1; when it has fallen it stays at what it was in the last one."""
        if self.fall_steps is None:
            return self.learning_rate
        return self.learning_rate * falling(step, self.fall_steps)


PRESETS = {
    "tiny": Config(
        model=ModelConfig(image_size=16, channels=8), world_size=64, batch_size=8, ema_half_life_kitems=0.05
    ),
    "demo": Config(  # clean faces within three minutes of two slow cores in FP32: a third of the reference's cost
        model=ModelConfig(channels=32),
        world_size=4_000,
        batch_size=32,
        learning_rate=8e-4,
        fall_steps=2800,
        penalty=1.0,
        ema_half_life_kitems=6.0,
    ),
    "paper": Config(world_size=100_000),
}
LAZY = 16  # steps from one penalty to the next, which weighs as much more (Karras 2020, StyleGAN2, appendix B)
SCHEDULES = {
    "tiny": Schedule(steps=6, save_every=3, sample_every=3, log_every=1),
    "demo": Schedule(steps=2800, max_minutes=2.7, save_every=400, sample_every=700),
    "paper": Schedule(),
}


class Networks:
    """The learner: generator, critic, the averaged generator, which is served, and the random state of the latents."""

    def __init__(self, config: Config, device: str) -> None:
        self.config = config
        self.generator, self.critic = build(config.model, config.seed)
        for network in (self.generator, self.critic):  # channels-last convolutions are up to a third faster
            network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.generator).eval()
        self.random = torch.Generator().manual_seed(config.seed)
        self.optimization = Optimization(
            pick(config.precision, device), {"generator": self._adam(self.generator), "critic": self._adam(self.critic)}
        )

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam(network.parameters(), self.config.learning_rate, betas, fused=True)

    def served(self) -> dict[str, Tensor]:
        """The weights of the averaged generator."""
        return dict(self.average.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Everything but the averaged generator as named tensors."""
        networks = network_tensors(generator=self.generator, critic=self.critic)
        return networks | self.optimization.state() | {"random": self.random.get_state()}

    def load(self, served: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore the outputs of `served` and `state`; strict."""
        self.average.load_state_dict(served)
        load_networks(state, generator=self.generator, critic=self.critic)
        self.optimization.load(state)
        self.random.set_state(state["random"])

    def update(self, real: Tensor, step: int) -> Figures:
        """One update of the critic, then one of the generator. real (B, 3, S, S) in [-1, 1]. Returns the losses."""
        for name in ("critic", "generator"):
            self.optimization.set_rate(name, self.config.rate(step))
        z = torch.randn(len(real), self.config.model.latent, generator=self.random).to(real.device)  # (B, Z)
        with self.optimization.cast():
            fake = self.generator(z)
            real_logits, fake_logits = self.critic(real).float(), self.critic(fake.detach()).float()
        critic_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        if self.config.penalty is not None and step % LAZY == 0:  # outside of the cast: it would underflow in halves
            critic_loss = critic_loss + LAZY * self.config.penalty * r1(self.critic, real)
        self.optimization.minimize("critic", critic_loss)
        with self.optimization.cast():
            logits = self.critic(fake).float()
        generator_loss = F.softplus(-logits).mean()  # non-saturating: -log D(G(z)), section 3 of Goodfellow 2014
        self.optimization.minimize("generator", generator_loss)
        self.optimization.end_step()
        ema.update(self.average, self.generator, self.config.ema_decay(step))
        return {"generator": float(generator_loss.detach()), "critic": float(critic_loss.detach())}

    @torch.no_grad()
    def sample(self, z: Tensor) -> NDArray[np.uint8]:
        """Images (B, S, S, 3) of the averaged generator for latents z (B, Z)."""
        device = next(self.average.parameters()).device
        return evaluate_images.to_pixels(torch.cat([self.average(part.to(device)) for part in torch.split(z, 64)]))

    def prepare(self, pixels: Tensor) -> Tensor:
        """uint8 (B, S, S, 3) -> float (B, 3, S, S) in [-1, 1] on the device, half of them mirrored."""
        images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        if self.config.mirror:
            flip = torch.rand(len(images), generator=self.random) < 0.5
            images = torch.where(flip[:, None, None, None], images.flip(3), images)
        device = next(self.critic.parameters()).device
        return images.to(device, memory_format=torch.channels_last)


def train(run: Run, config: Config) -> Meta:
    """Train from the last checkpoint of `run` to the end of its schedule; raises like `loop.train`."""
    return loop.train(run, config, _prepare)


def _prepare(run: Run, config: Config, device: str, resumed: Checkpoint | None) -> Work:
    size = config.model.image_size
    data = open_images(config.data, size, config.world_size, at_least=config.batch_size, cache=run.folder)
    networks = Networks(config, device)
    pixels = torch.from_numpy(data.images)
    batches = epochs(len(pixels), config.batch_size, config.seed, resumed.meta.step if resumed else 0)

    def evaluate(step: int) -> Figures:
        path = run.sample_file(step, ".png")
        return evaluate_images.evaluate(networks.sample, config.model.latent, config.seed, data.images, path)

    def finish(step: int) -> Figures:
        last = evaluate_images.evaluate_finally(networks.sample, config.model.latent, config.seed, data.images)
        return {**evaluate(step), **last}

    return Work(
        data=data,
        learner=networks,
        about=f"{len(data.images)} images of {data.name}, {device} {networks.optimization.precision}",
        model=dataclasses.asdict(config.model),
        update=lambda step: networks.update(networks.prepare(pixels[next(batches)]), step),
        evaluate=evaluate,
        finish=finish,
        final="swd_floor",
        unit="images",
        curves=("generator", "critic"),
        right=("swd",),
    )


def load_generator(source: Path | Checkpoint) -> tuple[Meta, Generator]:
    """The averaged generator of a checkpoint, in evaluation mode. Raises `CheckpointError`."""
    return load_network(source, lambda model: Generator(ModelConfig(**model)))
