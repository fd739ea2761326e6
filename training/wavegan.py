"""Recipe of `wavegan`: clips of sound by class, from a GAN whose averaged generator is served.

Donahue 2019 (arXiv:1802.04208) for the networks and the setting of `paper`; what else there is to choose, and whose it
is, stands at the fields of the config. Run it with `python -m training wavegan --name NAME --preset demo`.

Dimensions: B clips of a batch, T samples of a clip.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training import checks, ema, evaluate_sounds, loop
from training.batches import drawn
from training.checkpoint import Checkpoint, Meta
from training.config import RecipeConfig
from training.data import SoundSet
from training.data.sound_source import SoundSource
from training.data.sounds import open_sounds
from training.loop import Figures, Work
from training.models.wavegan import Described, Generator, ModelConfig, build
from training.optimization import Optimization
from training.precision import pick
from training.run import Run, Schedule
from training.state import load_network, load_networks, network_tensors
from training.wavegan_losses import LOSSES, LossName, class_loss, critic_loss, generator_loss, overdriven, penalty

AT_ONCE = 50  # clips that are sampled at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SoundSource, RecipeConfig):
    """The config of the recipe."""

    model: ModelConfig = ModelConfig()
    learning_rate: float = 1e-4
    """of Adam, for all networks"""
    beta1: float = 0.5
    beta2: float = 0.9
    loss: LossName = "wgan-gp"
    """wgan-gp: Wasserstein with a gradient penalty (Gulrajani 2017); r1: non-saturating with R1 (Mescheder 2018)"""
    critic_steps: int = 5
    """updates of the critics for one of the generator"""
    penalty: float = 10.0
    """weight of the penalty on the critic's gradient"""
    class_weight: float = 0.0
    """weight of the cross-entropy of the class, which the critics learn to hear (Odena 2017); 0: without"""
    overdriven_weight: float = 0.0
    """weight of samples that are far into the tanh, where it has no gradient; 0: without"""

    def __post_init__(self) -> None:
        SoundSource.__post_init__(self)
        RecipeConfig.__post_init__(self)
        checks.at_least(self, critic_steps=1, penalty=0, class_weight=0, overdriven_weight=0)
        checks.one_of(self, "loss", LOSSES)


PRESETS = {
    "tiny": Config(
        model=ModelConfig(rate=8000, samples=1024, latent=8, channels=4, critic="both", critic_channels=4),
        world_size=64,
        batch_size=8,
        critic_steps=2,
        class_weight=1.0,
        ema_half_life_kitems=0.05,
    ),
    "demo": Config(  # digits that can be told apart within three minutes of two slow cores in FP32
        model=ModelConfig(rate=8000, samples=4096, channels=16, critic="mel", critic_channels=64, normalize=True),
        batch_size=16,
        learning_rate=1e-3,
        beta1=0.0,
        beta2=0.99,
        loss="r1",
        critic_steps=1,
        penalty=5.0,
        class_weight=1.0,
        overdriven_weight=10.0,
        ema_half_life_kitems=3.0,
    ),
    "paper": Config(world_size=20_000),
}
SCHEDULES = {
    "tiny": Schedule(steps=4, save_every=2, sample_every=2, log_every=1),
    "demo": Schedule(steps=2400, max_minutes=2.2, save_every=600, sample_every=600),
    "paper": Schedule(steps=200_000),
}


class Networks:
    """The learner: generator, critics, the averaged generator, which is served, and the state of what is drawn."""

    def __init__(self, config: Config, model: Described, device: str) -> None:
        self.config, self.model = config, model
        self.generator, self.judges = build(model, config.seed)
        self.critics = nn.ModuleList(self.judges).to(device)
        self.generator.to(device)
        self.average = copy.deepcopy(self.generator).eval()
        self.random = torch.Generator().manual_seed(config.seed)
        self.optimization = Optimization(
            pick(config.precision, device),
            {"generator": self._adam(self.generator), "critic": self._adam(self.critics)},
        )

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam(network.parameters(), self.config.learning_rate, betas, fused=True)

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return next(self.generator.parameters()).device

    def served(self) -> dict[str, Tensor]:
        """The weights of the averaged generator."""
        return dict(self.average.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Everything but the averaged generator as named tensors."""
        networks = network_tensors(generator=self.generator, critics=self.critics)
        return networks | self.optimization.state() | {"random": self.random.get_state()}

    def load(self, served: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore the outputs of `served` and `state`; strict."""
        self.average.load_state_dict(served)
        load_networks(state, generator=self.generator, critics=self.critics)
        self.optimization.load(state)
        self.random.set_state(state["random"])

    def update(self, real: Tensor, label: Tensor, step: int) -> Figures:
        """`critic_steps` updates of the critics, each with its part of the clips, then one of the generator.

        real (critic_steps * B, T) in [-1, 1], label (critic_steps * B,). Returns the losses.
        """
        for clips, said in zip(
            real.chunk(self.config.critic_steps), label.chunk(self.config.critic_steps), strict=True
        ):
            z = torch.randn(len(clips), self.model.latent, generator=self.random).to(clips.device)  # (B, Z)
            with self.optimization.cast():
                unbounded = self.generator.unbounded(z, said).float()
            fake = torch.tanh(unbounded)
            critic_figure = self._learn_to_judge(clips, fake.detach(), said)
        self.critics.requires_grad_(False)  # nothing is learned by the critics from the generator's loss
        loss = self.config.overdriven_weight * overdriven(unbounded)
        for critic in self.judges:
            with self.optimization.cast():
                judged = critic.judge(critic.view(fake), said, self.random)
            loss = loss + generator_loss(self.config.loss, judged.real.float())
            if self.config.class_weight:
                loss = loss + self.config.class_weight * class_loss(judged, said)
        self.optimization.minimize("generator", loss)
        self.critics.requires_grad_(True)
        self.optimization.end_step()
        ema.update(self.average, self.generator, self.config.ema_decay(step))
        return {"generator": float(loss.detach()), "critic": critic_figure}

    def _learn_to_judge(self, real: Tensor, fake: Tensor, label: Tensor) -> float:
        config = self.config
        loss = torch.zeros((), device=real.device)
        for critic in self.judges:
            seen, made = critic.view(real), critic.view(fake)
            with self.optimization.cast():
                of_real, of_fake = (critic.judge(clips, label, self.random) for clips in (seen, made))
            loss = loss + critic_loss(config.loss, of_real.real.float(), of_fake.real.float())
            if config.class_weight:
                loss = loss + config.class_weight * class_loss(of_real, label)
            if config.penalty:  # outside of the cast: its inner gradient would underflow in half precision
                loss = loss + config.penalty * penalty(config.loss, critic, seen, made, label, self.random)
        self.optimization.minimize("critic", loss)
        return float(loss.detach())

    @torch.no_grad()
    def sample(self, labels: NDArray[np.int64], seed: int) -> Tensor:
        """Clips (B, T) of the averaged generator for labels (B,), of noise that follows from `seed`."""
        z = torch.randn(len(labels), self.model.latent, generator=torch.Generator().manual_seed(seed))
        parts = zip(torch.split(z, AT_ONCE), torch.split(torch.from_numpy(labels), AT_ONCE), strict=True)
        return torch.cat([self.average(noise.to(self.device), said.to(self.device)).cpu() for noise, said in parts])


def train(run: Run, config: Config) -> Meta:
    """Train from the last checkpoint of `run` to the end of its schedule; raises like `loop.train`."""
    return loop.train(run, config, _prepare)


def _prepare(run: Run, config: Config, device: str, resumed: Checkpoint | None) -> Work:
    sizes = config.model
    data = open_sounds(config, sizes.rate, sizes.samples, at_least=config.batch_size, cache=run.folder)
    model = Described.of(sizes, data.classes)
    networks = Networks(config, model, device)
    learned = data.learned

    def update(step: int) -> Figures:
        return networks.update(*_batch(data, learned, config, networks.device, step), step)

    def evaluate(step: int) -> Figures:
        return evaluate_sounds.evaluate(networks.sample, data, config.seed, run.sample_file(step, ".png"))

    def finish(step: int) -> Figures:
        heard_by = evaluate_sounds.hearing_of(data, sizes.samples)
        return {**evaluate(step), **evaluate_sounds.evaluate_finally(networks.sample, data, config.seed, heard_by)}

    return Work(
        data=data,
        learner=networks,
        about=f"{len(learned)} clips of {data.name}, {device} {networks.optimization.precision}",
        model=dataclasses.asdict(model),
        update=update,
        evaluate=evaluate,
        finish=finish,
        final="frechet_floor",
        unit="clips",
        curves=("generator", "critic"),
        right=("frechet",),
    )


def _batch(
    data: SoundSet, learned: NDArray[np.int64], config: Config, device: torch.device, step: int
) -> tuple[Tensor, Tensor]:
    """The clips of a step (critic_steps * B, T) and their labels, drawn from those that are learned from."""
    chosen = learned[drawn(len(learned), config.critic_steps * config.batch_size, config.seed, step)]
    waves, labels = data.waves(chosen, config.model.samples), data.labels[chosen]
    return torch.from_numpy(waves).to(device), torch.from_numpy(labels).to(device)


def load_generator(source: Path | Checkpoint) -> tuple[Meta, Generator]:
    """The averaged generator of a checkpoint, in evaluation mode. Raises `CheckpointError`."""
    return load_network(source, lambda model: Generator(Described(**model)))
