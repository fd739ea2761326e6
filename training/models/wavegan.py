"""WaveGAN (Donahue, McAuley, Puckette 2019, arXiv:1802.04208): waveforms from noise and a class, and their critics.

Both read the class: the generator joins a learned vector of it to the noise, a critic adds the inner product of one
with its features (Miyato and Koyama 2018, arXiv:1802.05637).

Dimensions: B batch, Z latent, K classes, C width of a stage, T samples, L the length of a stage (T / 4, T / 16, ...),
M bands and F frames of a log-mel spectrogram.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import checks, mel
from training.checks import refuse
from training.seeding import seeded

KERNEL, STRIDE = 25, 4  # section 3.1: the kernel of an image GAN, 5x5, flattened to one dimension; 2x2 becomes 4
PADDING = 11  # with an output padding of 1 a stage makes exactly four times as many samples
FIRST = 16  # samples of the shortest stage, at least
LONGEST = 65_536  # samples: the longest clip of the paper
MEL_MEAN, MEL_SPREAD = -6.0, 2.5  # natural logarithms: about what clips of speech have
LOUD_BANDS, LOUD = 20, 8.0  # wide bands, whose amplitudes stand beside the logarithms; what they are multiplied by
LEAST = 1e-6  # of a mean square: the gradient of a root is finite
MEL_WIDTHS = (1, 2, 2)  # of the stages of a critic of spectrograms, in `critic_channels`


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks that the config of a run gives."""

    rate: int = 16_000
    """samples a second of the clips in Hz; sounds of any rate are brought to it"""
    samples: int = 16_384
    """of a clip: FIRST = 16 or a small multiple of it, times a power of 4; longer sounds see --long"""
    latent: int = 100
    """length of the noise vector z"""
    embedding: int = 16
    """length of the learned vector of a class"""
    channels: int = 64
    """width of the last hidden stage of the generator; every stage before it has twice as many"""
    critic: Literal["wave", "mel", "both"] = "wave"
    """what is judged: the samples (WaveGAN), their log-mel spectrogram, or both by a critic each"""
    critic_channels: int = 64
    """width of the critic's first stage"""
    phase_shuffle: int = 2
    """samples by which every stage of a critic of samples is moved at random, at most (section 3.3)"""
    normalize: bool = False
    """batch normalization in the generator, whose scales and shifts depend on the class"""

    def __post_init__(self) -> None:
        checks.at_least(self, rate=1000, latent=1, embedding=1, channels=1, critic_channels=1, phase_shuffle=0)
        checks.one_of(self, "critic", ("wave", "mel", "both"))
        if not FIRST * STRIDE <= self.samples <= LONGEST or self.samples % STRIDE**self.stages:
            known = ", ".join(str(FIRST * times * STRIDE**power) for power in (3, 4, 5) for times in (1, 2))
            raise refuse("samples", self.samples, f"16, 32 or 48 times a power of 4, {LONGEST} at most: {known}")

    @property
    def stages(self) -> int:
        """How many times the generator makes four samples of one."""
        stages = 1
        while self.samples // STRIDE ** (stages + 1) >= FIRST:
            stages += 1
        return stages

    @property
    def first(self) -> int:
        """Length of the shortest stage in samples."""
        return self.samples // int(STRIDE**self.stages)


@dataclasses.dataclass(frozen=True)
class Described(ModelConfig):
    """Sizes with what the data gave: all that rebuilds the networks."""

    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "classes", tuple(self.classes))  # JSON knows lists alone

    @classmethod
    def of(cls, sizes: ModelConfig, classes: tuple[str, ...]) -> Described:
        """The sizes of a run, for those classes."""
        return cls(**dataclasses.asdict(sizes), classes=classes)


class ClassNorm(nn.Module):
    """Batch normalization whose scale and shift are looked up by class (de Vries 2017, arXiv:1707.00683)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.scale = nn.Parameter(torch.ones(classes, width))
        self.shift = nn.Parameter(torch.zeros(classes, width))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """x (B, C, L), label (B,) -> (B, C, L)."""
        found: Tensor = self.norm(x) * self.scale[label][:, :, None] + self.shift[label][:, :, None]
        return found


class Generator(nn.Module):
    """Noise z (B, Z) and label (B,) int64 -> audio (B, T) in [-1, 1]."""

    def __init__(self, config: Described) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * 2**stage for stage in reversed(range(config.stages - 1))]
        self.width = first = 2 * widths[0] if widths else config.channels
        self.classes = nn.Embedding(len(config.classes), config.embedding)
        self.dense = nn.Linear(config.latent + config.embedding, first * config.first)
        self.stages = nn.ModuleList(
            nn.ConvTranspose1d(before, after, KERNEL, STRIDE, PADDING, output_padding=1)
            for before, after in zip((first, *widths), (*widths, 1), strict=True)
        )
        norms = (first, *widths) if config.normalize else ()
        self.norms = nn.ModuleList(ClassNorm(width, len(config.classes)) for width in norms)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """z (B, Z), label (B,) -> audio (B, T)."""
        return torch.tanh(self.unbounded(z, label))

    def unbounded(self, z: Tensor, label: Tensor) -> Tensor:
        """What the last stage gives (B, T), of which `forward` is the tanh."""
        read = torch.cat([z, self.classes(label)], dim=1)  # (B, Z + E)
        x = self.dense(read).reshape(-1, self.width, self.config.first)  # (B, C, L)
        for at, stage in enumerate(self.stages):
            if self.config.normalize:
                x = self.norms[at](x, label)
            x = stage(torch.relu(x))
        unbounded: Tensor = x.squeeze(1)
        return unbounded


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a critic says of B clips."""

    real: Tensor
    """(B,): high for clips that look real"""
    classes: Tensor
    """(B, K): logits of the class"""


class Heads(nn.Module):
    """The judgement of features (B, D): a line, the inner product with a vector of the class, and class logits."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.real = nn.Linear(width, 1)
        self.said = nn.Embedding(classes, width)
        nn.init.zeros_(self.said.weight)
        self.classes = nn.Linear(width, classes)

    def forward(self, features: Tensor, label: Tensor) -> Judgement:
        """features (B, D), label (B,)."""
        agreement = (features * self.said(label)).sum(dim=1)
        return Judgement(self.real(features)[:, 0] + agreement, self.classes(features))


class Critic(nn.Module):
    """A critic: `view` says what it looks at, and it judges that."""

    def view(self, audio: Tensor) -> Tensor:
        """Clips (B, T) as the critic sees them (B, ...), in FP32."""
        raise NotImplementedError

    def judge(self, seen: Tensor, label: Tensor, random: torch.Generator) -> Judgement:
        """What `view` gave, of which the classes are said to be `label` (B,)."""
        raise NotImplementedError


class WaveCritic(Critic):
    """A critic of samples: the generator backwards, with phase shuffle between its stages."""

    def __init__(self, config: Described) -> None:
        super().__init__()
        widths = [config.critic_channels * 2**stage for stage in range(config.stages)]
        self.shuffle = config.phase_shuffle
        self.stages = nn.ModuleList(
            nn.Conv1d(before, after, KERNEL, STRIDE, PADDING)
            for before, after in zip((1, *widths[:-1]), widths, strict=True)
        )
        self.heads = Heads(widths[-1] * config.first, len(config.classes))

    def view(self, audio: Tensor) -> Tensor:
        """The clips themselves (B, T)."""
        return audio.float()

    def judge(self, seen: Tensor, label: Tensor, random: torch.Generator) -> Judgement:
        """seen (B, T), label (B,)."""
        x = seen[:, None]
        for at, stage in enumerate(self.stages):
            x = F.leaky_relu(stage(x), 0.2)  # (B, C, L)
            if at < len(self.stages) - 1:
                x = phase_shuffled(x, self.shuffle, random)
        judged: Judgement = self.heads(x.flatten(1), label)
        return judged


class MelCritic(Critic):
    """A critic of log-mel spectrograms, which hears a sound and not the phases of its parts.

    Beside the logarithms it sees amplitudes: through a logarithm alone a loud tone that does not belong there has next
    to no gradient. Those are of wide bands, and of all of a frame: no band holds 0 Hz, nor half the rate.
    """

    def __init__(self, config: Described) -> None:
        super().__init__()
        self.rate = config.rate
        widths = [config.critic_channels * times for times in MEL_WIDTHS]
        self.stages = nn.ModuleList(
            nn.Conv1d(before, after, 5, 2, 2)
            for before, after in zip((mel.BANDS + LOUD_BANDS + 1, *widths[:-1]), widths, strict=True)
        )
        frames = 1 + config.samples // mel.step_of(config.rate)
        for _ in widths:
            frames = (frames + 1) // 2
        self.heads = Heads(widths[-1] * frames, len(config.classes))

    def view(self, audio: Tensor) -> Tensor:
        """Log-mel spectrograms, about standard, above amplitudes (B, M + LOUD_BANDS + 1, F)."""
        with torch.autocast(audio.device.type, enabled=False):
            bands = mel.log_mel(audio, self.rate)
            loud = torch.unflatten(bands.exp(), 1, (LOUD_BANDS, -1)).mean(dim=2)
            frames, step = bands.shape[2], mel.step_of(self.rate)
            whole = F.pad(audio.float(), (0, frames * step - audio.shape[1])).reshape(-1, 1, frames, step)
            level = (whole.square().mean(dim=3) + LEAST).sqrt()  # (B, 1, F)
            return torch.cat([(bands - MEL_MEAN) / MEL_SPREAD, LOUD * loud, LOUD * level], dim=1)

    def judge(self, seen: Tensor, label: Tensor, random: torch.Generator) -> Judgement:
        """What `view` gave, label (B,)."""
        x = seen
        for stage in self.stages:
            x = F.leaky_relu(stage(x), 0.2)  # (B, C, F)
        judged: Judgement = self.heads(x.flatten(1), label)
        return judged


def phase_shuffled(x: Tensor, most: int, random: torch.Generator) -> Tensor:
    """x (B, C, L), each row moved by -most to `most` samples; what is missing at an end is reflected (section 3.3)."""
    if most == 0:
        return x
    length = x.shape[2]
    moves = torch.randint(-most, most + 1, (len(x), 1), generator=random)
    places = (torch.arange(length) + moves).abs()  # (B, L)
    places = torch.where(places >= length, 2 * (length - 1) - places, places).to(x.device)
    return x.gather(2, places[:, None].expand_as(x))


def build(config: Described, seed: int) -> tuple[Generator, list[Critic]]:
    """The generator and its critics, of weights drawn from `seed`, without touching the global random state."""
    with seeded(seed):
        generator = Generator(config)
        critics: list[Critic] = []
        if config.critic in ("wave", "both"):
            critics.append(WaveCritic(config))
        if config.critic in ("mel", "both"):
            critics.append(MelCritic(config))
        return generator, critics
