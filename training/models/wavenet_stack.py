"""All layers of a WaveNet over whole sounds at once, with a gradient that is written out: what training costs, mostly.

The numbers are those of `Layer.forward` one after the other. Channels come first here: filters and gates are then
contiguous halves, the skip outputs of all layers are one matrix product, and what the gradient needs is kept once: 5 R
numbers of a sample and layer.

Dimensions: B sounds, T samples, F frames of T / F samples, L layers, R residual channels, S skip channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Stack(torch.autograd.Function):
    """below (R, B, T), spread (L, 2 R, B, F), gates (L, 2 R, 2 R), outs (L, R + S, R), biases (L, R + S) -> the sum of
    the skip outputs (S, B, T). `dilations` has L numbers."""

    @staticmethod
    def forward(
        ctx: Any, below: Tensor, spread: Tensor, gates: Tensor, outs: Tensor, biases: Tensor, dilations: tuple[int, ...]
    ) -> Tensor:
        """See the class."""
        residual, count, length = below.shape
        frames = spread.shape[3]
        layers = len(dilations)
        read = below.new_zeros(layers, 2 * residual, count, length)  # of each layer [earlier, now]
        opened = below.new_empty(layers, 2 * residual, count, length)  # tanh of the filters, sigmoid of the gates
        spoken = below.new_empty(layers, residual, count, length)  # their products
        read[0, residual:] = below
        for at, dilation in enumerate(dilations):
            now = read[at, residual:]
            if dilation < length:
                read[at, :residual, :, dilation:] = now[:, :, : length - dilation]
            torch.mm(gates[at], read[at].flatten(1), out=opened[at].flatten(1))
            opened[at].view(-1, count, frames, length // frames).add_(spread[at, ..., None])
            filters = opened[at, :residual].mul_(2)
            opened[at].sigmoid_()
            filters.mul_(2).sub_(1)  # tanh x = 2 s(2 x) - 1, which is five times as fast as tanh
            torch.mul(opened[at, :residual], opened[at, residual:], out=spoken[at])
            if at + 1 < layers:
                above = read[at + 1, residual:]
                torch.addmm(
                    biases[at, :residual, None], outs[at, :residual], spoken[at].flatten(1), out=above.flatten(1)
                )
                above.add_(now)
        skips = outs[:, residual:].transpose(0, 1).flatten(1)  # (S, L R)
        said = torch.addmm(biases[:, residual:].sum(dim=0)[:, None], skips, spoken.view(layers * residual, -1))
        ctx.save_for_backward(read, opened, spoken, gates, outs)
        ctx.dilations, ctx.frames = dilations, frames
        return said.view(-1, count, length)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of below, spread, gates, outs and biases from that of the sum."""
        read, opened, spoken, gates, outs = ctx.saved_tensors
        layers, residual, count, length = spoken.shape
        said = gradients[0].contiguous().flatten(1)  # (S, B T)
        of_outs, of_gates = torch.zeros_like(outs), torch.empty_like(gates)
        of_biases = torch.zeros_like(outs[..., 0])
        of_spread = outs.new_empty(layers, 2 * residual, count, ctx.frames)
        skips = outs[:, residual:].transpose(0, 1).flatten(1)
        of_outs[:, residual:] = (said @ spoken.view(layers * residual, -1).T).view(-1, layers, residual).transpose(0, 1)
        of_biases[:, residual:] = said.sum(dim=1)
        above = torch.zeros_like(spoken[0])
        of_gated, of_read = torch.empty_like(opened[0]), torch.empty_like(read[0])
        part = torch.empty_like(spoken[0])
        for at in reversed(range(layers)):
            filters, opens = opened[at, :residual], opened[at, residual:]
            torch.mm(skips[:, at * residual : (at + 1) * residual].T, said, out=part.flatten(1))
            if at + 1 < layers:
                part.flatten(1).addmm_(outs[at, :residual].T, above.flatten(1))
                torch.mm(above.flatten(1), spoken[at].flatten(1).T, out=of_outs[at, :residual])
                of_biases[at, :residual] = above.sum(dim=(1, 2))
            torch.addcmul(opens, spoken[at], filters, value=-1, out=of_gated[:residual])  # s (1 - t t)
            of_gated[:residual].mul_(part)
            torch.addcmul(spoken[at], spoken[at], opens, value=-1, out=of_gated[residual:])  # t s (1 - s)
            of_gated[residual:].mul_(part)
            torch.mm(of_gated.flatten(1), read[at].flatten(1).T, out=of_gates[at])
            torch.sum(of_gated.view(-1, count, ctx.frames, length // ctx.frames), dim=3, out=of_spread[at])
            torch.mm(gates[at].T, of_gated.flatten(1), out=of_read.flatten(1))
            above.add_(of_read[residual:])
            dilation = ctx.dilations[at]
            if dilation < length:
                above[:, :, : length - dilation].add_(of_read[:residual, :, dilation:])
        return above, of_spread, of_gates, of_outs, of_biases, None
