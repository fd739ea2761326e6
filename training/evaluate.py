"""Looks at a text network while it learns: what true targets cost it, what it writes itself, how much of that is right, samples to read.

Dimensions: B pairs of a batch, T target tokens.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data import reports, smalltalk
from training.data.pairs import Pair
from training.loop import Figures
from training.models.seq2seq import BEGIN, END, PAD, Seq2Seq
from training.sources import Encoded, inputs, padded, read_before
from training.tokens import Tokens

SHOWN = 24  # pairs in a file of samples


@torch.no_grad()
def nats_per_token(network: Seq2Seq, pairs: Sequence[Encoded]) -> float:
    """What a token of the targets costs on average when the tokens before it are given; END is one of them."""
    device = next(network.parameters()).device
    nats, count = 0.0, 0
    for at in range(0, len(pairs), 64):
        batch = pairs[at : at + 64]
        source, lengths, *more = (part.to(device) for part in inputs(batch))
        target, sizes = padded([pair.target for pair in batch])
        read = read_before(target)
        logits = network(
            source, lengths, read.to(device), torch.ones_like(read, dtype=torch.bool, device=device), *more
        )
        nats += float(F.cross_entropy(logits.cpu().flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum"))
        count += int(sizes.sum())
    return nats / count


@torch.no_grad()
def write(network: Seq2Seq, tokens: Tokens, pairs: Sequence[Encoded]) -> list[str]:
    """What the network makes of the sources of pairs, always taking the likeliest token, up to `max_target` tokens."""
    device = next(network.parameters()).device
    texts: list[str] = []
    for at in range(0, len(pairs), 64):
        source, lengths, *more = (part.to(device) for part in inputs(pairs[at : at + 64]))
        memory, *state = network.encode(source, lengths, *more)
        token = torch.full((len(source),), BEGIN, device=device)
        feed = memory.new_zeros(len(source), network.config.hidden)
        rows: list[Tensor] = []
        while len(rows) < network.config.max_target and not (rows and (torch.stack(rows) == END).any(dim=0).all()):
            logits, _, feed, *state = network.step(token, feed, source, memory, lengths, tuple(state))
            logits[:, tokens.never] = -math.inf
            token = logits.argmax(dim=1)
            rows.append(token)
        texts += [tokens.decode(row) for row in torch.stack(rows, dim=1).tolist()]
    return texts


def judged(data: str, pairs: Sequence[Pair], written: Sequence[str]) -> Figures:
    """Of a written world, how many facts are right; of other data nobody can say."""
    if data == reports.NAME:
        verdicts = [reports.check(pair.source[0], text) for pair, text in zip(pairs, written, strict=True)]
        return {
            "fact_accuracy": round(sum(v.right for v in verdicts) / sum(v.facts for v in verdicts), 4),
            "summaries_right": round(sum(v.problem is None for v in verdicts) / len(verdicts), 4),
        }
    if data == smalltalk.NAME:
        right = [smalltalk.is_right(pair.source, text) for pair, text in zip(pairs, written, strict=True)]
        return {"fact_accuracy": round(sum(right) / len(right), 4)}
    return {}


def write_samples(pairs: Sequence[Pair], written: Sequence[str], path: Path) -> None:
    """The first pairs with what was written for them, as a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    blocks = [
        "\n".join([*(f"< {turn}" for turn in pair.source), f"= {pair.target}", f"> {text}"])
        for pair, text in zip(pairs[:SHOWN], written, strict=False)
    ]
    temporary.write_text("< source, = wanted, > written\n\n" + "\n\n".join(blocks) + "\n", encoding="utf-8")
    os.replace(temporary, path)
