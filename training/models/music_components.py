"""Where the autoencoder of `music` begins: its straight way is set to the principal components of the music's levels.

A linear autoencoder learns nothing else (Baldi and Hornik 1989, "Neural networks and principal component analysis"),
only slower; the layers beside it begin near 0 and learn what is left.

Dimensions: B pieces, T samples, R semitones relative to the tonic, C latent channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.models.music import ANALYSIS, FINER, HOP, Decoder, Encoder


@torch.no_grad()
def begin_with(encoder: Encoder, decoder: Decoder, waves: Tensor, key: Tensor) -> None:
    """Set the straight ways of both by pieces (B, T) in keys (B,): the closest levels back, latents as strong as heard.

    Deviations of latents are those of the components over their root mean square. Where there are more latent channels
    than semitones, those beyond them stay as they are.
    """
    seen = F.avg_pool1d(encoder.see(waves, key), HOP // ANALYSIS)
    levels = seen.transpose(1, 2).flatten(0, 1).double()  # (frames, R)
    mean = levels.mean(dim=0)
    variances, vectors = torch.linalg.eigh((levels - mean).T @ (levels - mean) / len(levels))  # from the smallest
    count = min(encoder.straight.out_channels, levels.shape[1])
    deviations = variances[-count:].clamp(min=1e-6).sqrt()
    whole = deviations.square().mean().sqrt()
    inwards, outwards = vectors[:, -count:] / deviations, vectors[:, -count:] * whole  # (R, C)
    assert encoder.straight.bias is not None
    assert decoder.straight.bias is not None
    encoder.scale[:count, 0] = (deviations / whole).float()
    encoder.straight.weight[:count] = inwards.T.float()[:, :, None]
    encoder.straight.bias[:count] = -(mean @ inwards).float()
    between = 1.0 - (torch.arange(2 * FINER, device=waves.device) + 0.5 - FINER).abs() / FINER  # a straight line
    decoder.straight.weight[:count, : decoder.relative] = outwards.T.float()[:, :, None] * between
    decoder.straight.bias[: decoder.relative] = mean.float()
