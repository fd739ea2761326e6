"""WaveNet: the next sample of a sound from those before it, by dilated causal convolutions with gates.

van den Oord 2016 (arXiv:1609.03499): section 2.2 (softmax over 256 mu-law levels), 2.3 (gated activation), 2.4
(residual and skip connections), 2.5 (conditioning; as there "V * h" is repeated over the samples of a frame).

Everything is (..., channels): a convolution of two taps is then two matrix products, with the input as it is and with
the input `dilation` samples earlier, which is what a step needs, too.

Dimensions: B sounds, T samples, F frames, C numbers of condition, H hidden ones of them, L layers, R residual channels,
S skip channels, Q = 256 levels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.wavenet_config import Described, ModelConfig
from training.models.wavenet_stack import Stack
from training.seeding import seeded

LEVELS = 256  # of mu-law: ITU-T G.711, as section 2.2 takes it
SILENCE = LEVELS // 2  # the level of 0, which comes before the first sample
SMOOTH = 16  # waves over the levels that embedding and output begin with: neighbours mean nearly the same


class Layer(nn.Module):
    """One gated convolution with its residual and its skip output."""

    def __init__(self, config: ModelConfig, dilation: int) -> None:
        super().__init__()
        self.dilation, self._residual = dilation, config.residual
        self.gate = nn.Linear(2 * config.residual, 2 * config.residual, bias=False)  # of [earlier, now]
        self.out = nn.Linear(config.residual, config.residual + config.skip)

    def forward(self, below: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """below (B, T, R) and what the condition adds to the gates (B, T, 2 R) -> above (B, T, R), skip (B, T, S)."""
        earlier = F.pad(below, (0, 0, self.dilation, 0))[:, : below.shape[1]]
        return self.step(earlier, below, condition)

    def step(self, earlier: Tensor, below: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The same with the input of `dilation` samples before, (..., R) each."""
        gates = self.gate(torch.cat([earlier, below], dim=-1)) + condition
        filtered, opened = gates.split(self._residual, dim=-1)
        both = self.out(torch.tanh(filtered) * torch.sigmoid(opened))
        return below + both[..., : self._residual], both[..., self._residual :]


class WaveNet(nn.Module):
    """Samples so far -> logits of the next one. `forward` reads whole sounds (training), `step` one sample (export)."""

    def __init__(self, config: Described) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(LEVELS, config.residual)
        self.condition = nn.Linear(config.inputs, config.hidden)
        self.spread = nn.Linear(config.hidden, len(config.dilations) * 2 * config.residual)
        self.layers = nn.ModuleList(Layer(config, dilation) for dilation in config.dilations)
        self.head = nn.Linear(config.skip, config.skip)
        self.output = nn.Linear(config.skip, LEVELS)
        self._init_weights()

    def forward(self, levels: Tensor, conditions: Tensor) -> Tensor:
        """levels (B, T) int64 of the samples before, conditions (B, F, C) -> logits (B, T, Q) of each next sample.

        Sample t is in frame t // `config.frame`; before the first one everything is 0.
        """
        count, frame = levels.shape[1], self.config.frame
        spread = self.spread_of(conditions)  # (B, F, L, 2 R)
        levels = F.pad(levels, (0, spread.shape[1] * frame - count))
        if torch.is_autocast_enabled(levels.device.type):
            return self._mixed(levels, spread)[:, :count]
        layers = [layer for layer in self.layers if isinstance(layer, Layer)]
        skips = Stack.apply(  # type: ignore[no-untyped-call]
            self.embedding.weight.T[:, levels],
            spread.permute(2, 3, 0, 1),
            torch.stack([layer.gate.weight for layer in layers]),
            torch.stack([layer.out.weight for layer in layers]),
            torch.stack([layer.out.bias for layer in layers]),
            self.config.dilations,
        )
        return self.logits_of(skips.permute(1, 2, 0)[:, :count])

    def _mixed(self, levels: Tensor, spread: Tensor) -> Tensor:
        """The same layer by layer, for products in mixed precision."""
        below, skips = self.embedding(levels), torch.zeros((), device=levels.device)
        for at, layer in enumerate(self.layers):
            below, skip = layer(below, spread[:, :, at].repeat_interleave(self.config.frame, dim=1))
            skips = skips + skip
        return self.logits_of(skips)

    def step(self, sample: Tensor, past: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """sample (B,) int64, past (B, L, R), condition (B, C) -> logits (B, Q) of the next sample, push (B, L, R).

        Row l of `past` is what layer l was given `dilation` samples ago (`push` of then), zeros before the first one:
        the cost does not grow with the receptive field (Le Paine 2016, "Fast Wavenet", arXiv:1611.09482).
        """
        spread = self.spread_of(condition)  # (B, L, 2 R)
        below, skips, push = self.embedding(sample), None, []
        for at, layer in enumerate(self.layers):
            push.append(below)
            below, skip = layer.step(past[:, at], below, spread[:, at])  # type: ignore[operator]
            skips = skip if skips is None else skips + skip
        assert skips is not None
        return self.logits_of(skips), torch.stack(push, dim=1)

    def spread_of(self, condition: Tensor) -> Tensor:
        """condition (..., C) -> what it adds to the gates of every layer (..., L, 2 R)."""
        spread: Tensor = self.spread(torch.relu(self.condition(condition)))
        return spread.view(*spread.shape[:-1], len(self.layers), 2 * self.config.residual)

    def logits_of(self, skips: Tensor) -> Tensor:
        """The sum of the skip outputs (..., S) -> logits (..., Q)."""
        logits: Tensor = self.output(torch.relu(self.head(torch.relu(skips))))
        return logits

    def _init_weights(self) -> None:
        """Levels begin as smooth waves (DCT-II) with slow ones strong; the other layers keep the variance."""
        at = (torch.arange(LEVELS) + 0.5) * math.pi / LEVELS
        waves = torch.cos(at[:, None] * torch.arange(1, SMOOTH + 1)) / torch.arange(1, SMOOTH + 1) ** 0.5  # (Q, 16)
        with torch.no_grad():
            for weight in (self.embedding.weight, self.output.weight):
                weight.copy_(waves @ torch.randn(SMOOTH, weight.shape[1]) * (0.5 / SMOOTH**0.5))
        nn.init.zeros_(self.output.bias)
        nn.init.normal_(self.spread.weight, 0.0, 0.5 / math.sqrt(self.config.hidden))
        for layer in self.layers:
            assert isinstance(layer, Layer)
            nn.init.normal_(layer.gate.weight, 0.0, 1 / math.sqrt(2 * self.config.residual))
            nn.init.normal_(layer.out.weight, 0.0, 1 / math.sqrt(self.config.residual * 2))
            nn.init.zeros_(layer.out.bias)


def build(config: Described, seed: int) -> WaveNet:
    """The network with weights drawn from `seed`, without touching the global random state."""
    with seeded(seed):
        return WaveNet(config)


def encode(waves: Tensor) -> Tensor:
    """Waves in [-1, 1] as levels (int64), evenly spaced in mu-law: sign(x) ln(1 + 255 |x|) / ln 256."""
    squeezed = waves.sign() * torch.log1p((LEVELS - 1) * waves.abs().clamp(max=1.0)) / math.log(LEVELS)
    return ((squeezed + 1) / 2 * (LEVELS - 1) + 0.5).long()


def decode(levels: Tensor) -> Tensor:
    """Levels as waves: the other way round."""
    squeezed = 2 * levels.float() / (LEVELS - 1) - 1
    return squeezed.sign() * (torch.exp(squeezed.abs() * math.log(LEVELS)) - 1) / (LEVELS - 1)
