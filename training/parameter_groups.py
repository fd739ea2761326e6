"""Parameter groups: a BERT inside a network may be frozen, or be learned further more slowly than the rest."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from training.models.bert import Bert, BertEncoder, Remembered
from training.models.seq2seq import Seq2Seq


def bert_of(network: Seq2Seq) -> Bert | None:
    """The BERT of a network, if it has one."""
    return network.encoder.bert if isinstance(network.encoder, BertEncoder) else None


def shared(network: Seq2Seq) -> dict[int, Any]:
    """A memo for `copy.deepcopy`: a frozen BERT is the same in every copy, and keeps its outputs for all of them."""
    bert = bert_of(network)
    if bert is None or not bert.frozen:
        return {}
    bert.remembered = bert.remembered or Remembered()
    return {id(bert): bert}


def groups(network: Seq2Seq, learning_rate: float, bert_rate: float) -> list[dict[str, Any]]:
    """Parameters for an optimizer: a BERT that is not frozen with `bert_rate` times the learning rate."""
    bert = bert_of(network)
    theirs = list(bert.parameters()) if bert else []
    known = {id(parameter) for parameter in theirs}
    found: list[dict[str, Any]] = [{"params": [p for p in network.parameters() if id(p) not in known]}]
    if bert and not bert.frozen:
        found.append({"params": theirs, "lr": learning_rate * bert_rate})
    return found


def learned(network: Seq2Seq) -> dict[str, Tensor]:
    """The state of a network, but for a BERT that is frozen."""
    bert = bert_of(network)
    frozen = bert is not None and bert.frozen
    return {k: v for k, v in network.state_dict().items() if not (frozen and k.startswith("encoder.bert."))}
