"""Evaluation of a language model over bytes: samples, their validity, and bits per byte of held-out texts.

Dimensions: B texts, T bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from training import files
from training.byte_rows import IGNORED, inputs_and_targets
from training.data import sentences
from training.data.texts import stream
from training.models.charlm import BOUNDARY, CharLM

SHOWN = 32  # texts in a file of samples
JUDGED = 256  # texts that are sampled and judged
TEMPERATURE = 0.7  # of the samples
LONGEST = 256  # bytes after which a sample is cut off: the written texts end well before
MEASURED = 512  # bytes of a text that bits per byte are measured on, from its beginning


def evaluate(network: CharLM, data: str, held_out: Sequence[str], seed: int, path: Path) -> dict[str, float]:
    """Save samples as a text file; returns `bits_per_byte` of held-out texts.

    If `data` is the written world, also the share of samples that is `valid`.
    """
    samples = sample(network, JUDGED, TEMPERATURE, seed)
    files.write(path, ("\n\n".join(samples[:SHOWN]) + "\n").encode())
    figures = {"bits_per_byte": bits_per_byte(network, held_out[:JUDGED])}
    if data == sentences.NAME:  # of other texts nobody can say what is right
        figures["valid"] = sum(map(sentences.is_valid, samples)) / len(samples)
    return figures


@torch.no_grad()
def sample(network: CharLM, count: int, temperature: float, seed: int) -> list[str]:
    """`count` texts drawn byte by byte, each until its boundary or `LONGEST` bytes; U+FFFD stands for broken UTF-8."""
    device = next(network.parameters()).device
    random = torch.Generator().manual_seed(seed + 1)
    state = list(network.zeros(count))
    token = torch.full((count,), BOUNDARY, device=device)
    written: list[Tensor] = []
    ended = torch.zeros(count, dtype=torch.bool)
    while len(written) < LONGEST and not ended.all():
        logits, *state = network.step(token, *state)
        chances = torch.softmax(logits.cpu() / temperature, dim=1)
        drawn = torch.multinomial(chances, 1, generator=random)[:, 0]  # (B,)
        ended |= drawn == BOUNDARY
        written.append(drawn)
        token = drawn.to(device)
    rows = torch.stack(written, dim=1).byte().numpy()  # (B, T)
    return [row.tobytes().partition(bytes([BOUNDARY]))[0].decode(errors="replace") for row in rows]


@torch.no_grad()
def bits_per_byte(network: CharLM, texts: Sequence[str]) -> float:
    """Mean loss in bits per byte of these texts, each text by itself, the boundary that ends it included."""
    device = next(network.parameters()).device
    nats, count = 0.0, 0
    for at in range(0, len(texts), 64):
        inputs, targets = inputs_and_targets([stream([text])[: MEASURED + 1] for text in texts[at : at + 64]])
        logits, _ = network(inputs.to(device))
        nats += float(F.cross_entropy(logits.cpu().flatten(0, 1), targets.flatten(), reduction="sum"))
        count += int((targets != IGNORED).sum())
    return round(nats / count / math.log(2), 4)
