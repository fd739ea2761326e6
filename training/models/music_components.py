"""Where the autoencoder of `music` begins: its straight way is set to the principal components of the music's levels.

A linear autoencoder learns nothing else (Baldi and Hornik 1989, "Neural networks and principal component analysis"),
only slower; the layers beside it begin near 0 and learn what is left.

Dimensions: B pieces, T samples, P carriers, C latent channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.models.music import ANALYSIS, FINER, HOP, Decoder, Encoder


@torch.no_grad()
def begin_with(encoder: Encoder, decoder: Decoder, waves: Tensor) -> None:
    """Set the straight ways of both by pieces (B, T): mean 0 and variance 1 of latents, the closest levels back.

    Where there are more latent channels than carriers, those beyond them stay as they are.
    """
    levels = F.avg_pool1d(encoder.see(waves), HOP // ANALYSIS).transpose(1, 2).flatten(0, 1).double()  # (frames, P)
    mean = levels.mean(dim=0)
    variances, vectors = torch.linalg.eigh((levels - mean).T @ (levels - mean) / len(levels))  # from the smallest
    count = min(encoder.straight.out_channels, levels.shape[1])
    deviations = variances[-count:].clamp(min=1e-6).sqrt()
    inwards, outwards = vectors[:, -count:] / deviations, vectors[:, -count:] * deviations  # (P, C)
    assert encoder.straight.bias is not None
    assert decoder.straight.bias is not None
    encoder.straight.weight[:count] = inwards.T.float()[:, :, None]
    encoder.straight.bias[:count] = -(mean @ inwards).float()
    between = 1.0 - (torch.arange(2 * FINER, device=waves.device) + 0.5 - FINER).abs() / FINER  # a straight line
    decoder.straight.weight[:count, : decoder.pitches] = outwards.T.float()[:, :, None] * between
    decoder.straight.bias[: decoder.pitches] = mean.float()
