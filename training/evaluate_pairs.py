"""Evaluation of a sequence-to-sequence network: loss on held-out targets, greedy texts, judged facts, sample file.

Dimensions: B pairs of a batch, T target tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from training import files
from training.data import Pair, reports, smalltalk
from training.encoding import Encoded, inputs, padded, read_before
from training.models.seq2seq import BEGIN, END, PAD, Seq2Seq
from training.rouge import rouge
from training.tokenizer import BytePairTokenizer

SHOWN = 24  # pairs in a file of samples


def evaluate(
    network: Seq2Seq,
    tokens: BytePairTokenizer,
    data: str,
    pairs: Sequence[Pair],
    encoded: Sequence[Encoded],
    path: Path,
) -> tuple[float, dict[str, float]]:
    """The loss on held-out pairs, which are given as texts and as ids, and all figures; saves samples as a text file.

    `data` is the name of the written world, if it is one: its facts are judged.
    """
    loss = nats_per_token(network, encoded)
    written = greedy_texts(network, tokens, encoded)
    save_samples(pairs, written, path)
    figures = {"loss_held_out": round(loss, 4), "perplexity": round(math.exp(loss), 3)}
    return loss, figures | rouge([pair.target for pair in pairs], written) | judged_facts(data, pairs, written)


@torch.no_grad()
def nats_per_token(network: Seq2Seq, pairs: Sequence[Encoded]) -> float:
    """Mean loss of a target's token, END among them, when the tokens before it are given."""
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
def greedy_texts(network: Seq2Seq, tokens: BytePairTokenizer, pairs: Sequence[Encoded]) -> list[str]:
    """The texts that the network writes for the sources of pairs: the likeliest token each, `max_target` at most."""
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


def judged_facts(data: str, pairs: Sequence[Pair], written: Sequence[str]) -> dict[str, float]:
    """Of a written world the share of facts and texts that are right; of other data nobody can say."""
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


def save_samples(pairs: Sequence[Pair], written: Sequence[str], path: Path) -> None:
    """Save the first pairs with the texts written for them as a text file."""
    blocks = [
        "\n".join([*(f"< {turn}" for turn in pair.source), f"= {pair.target}", f"> {text}"])
        for pair, text in zip(pairs[:SHOWN], written, strict=False)
    ]
    files.write(path, ("< source, = wanted, > written\n\n" + "\n\n".join(blocks) + "\n").encode())
