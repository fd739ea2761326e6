"""The network of a classifier of sounds: convolutions over time on a spectrogram, pooled over all frames.

Dimensions: B sounds, C channels of the spectrogram, F frames, H the numbers that all heads give together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Listener(nn.Module):
    """Spectrograms (B, C, F >= 4) -> (B, H); mean and maximum over time stand for a sound of any length."""

    def __init__(self, channels: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.normal = nn.BatchNorm1d(channels)
        self.body = nn.Sequential(
            *_stage(channels, width, 5),
            nn.MaxPool1d(2),
            *_stage(width, width, 5),
            nn.MaxPool1d(2),
            *_stage(width, width, 3),
        )
        self.heads = nn.Linear(2 * width, outputs)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """The outputs of all heads side by side."""
        found = self.body(self.normal(spectrogram))  # (B, width, F / 4)
        outputs: Tensor = self.heads(torch.cat([found.mean(dim=2), found.amax(dim=2)], dim=1))
        return outputs


def _stage(read: int, width: int, kernel: int) -> tuple[nn.Module, ...]:
    return nn.Conv1d(read, width, kernel, padding=kernel // 2), nn.BatchNorm1d(width), nn.ReLU()
