"""The learner of a sequence-to-sequence network: scheduled sampling, label smoothing, and the best average is kept.

Dimensions: B pairs of a batch, S source tokens, T target tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training import parameter_groups
from training.early_stopping import EarlyStopping
from training.encoding import Encoded, inputs, padded, read_before
from training.learner import AveragedNetwork
from training.models.seq2seq import PAD, ModelConfig, Seq2Seq, build
from training.seq2seq_config import Config
from training.state import below


class Learner:
    """A network and its average, and the best average that an evaluation has found."""

    def __init__(
        self, config: Config, model: ModelConfig, device: str, bert: Mapping[str, Tensor] | None = None
    ) -> None:
        """Fresh, all from the config's seed, but for the weights of a BERT."""
        self.config = config
        network = build(model, config.seed)
        encoder = parameter_groups.bert_of(network)
        if encoder is not None and bert is not None:
            encoder.model.load_state_dict(bert)
        network.to(device)
        shared = parameter_groups.shared(network)
        groups = parameter_groups.groups(network, config.learning_rate, config.bert_rate)
        self.averaged = AveragedNetwork.new(network, config, config.clip, groups, shared)
        self.best = copy.deepcopy(network, dict(shared)).eval()
        self.stopping = EarlyStopping(config.patience)

    @property
    def average(self) -> Seq2Seq:
        """The moving average of the network."""
        return self.averaged.average

    def update(self, batch: Sequence[Encoded], step: int) -> dict[str, float]:
        """One step. Returns the loss in nats per token."""
        config, network, device = self.config, self.averaged.network, self.averaged.device
        source, lengths, *more = (part.to(device) for part in inputs(batch))
        target, _ = padded([pair.target for pair in batch])  # (B, T)
        read = read_before(target)
        with self.averaged.forward(step):
            forced = torch.rand(read.shape) < self._forced(step)
            logits = network(source, lengths, read.to(device), forced.to(device), *more)
        loss = F.cross_entropy(
            logits.float().flatten(0, 1),
            target.to(device).flatten(),
            ignore_index=PAD,
            label_smoothing=config.label_smoothing,
        )
        self.averaged.learn(loss, step)
        return {"loss": float(loss.detach())}

    def _forced(self, step: int) -> float:
        """The share of the target's tokens that the decoder is given: it falls from 1 in a line."""
        gone = min(1.0, step / self.config.forcing_steps) if self.config.forcing_steps else 1.0
        return 1 - (1 - self.config.teacher_forcing) * gone

    def note(self, loss: float) -> None:
        """Keep the average if its held-out loss is the best so far."""
        if self.stopping.better(loss):
            self.best.load_state_dict(self.average.state_dict())

    def served(self) -> dict[str, Tensor]:
        """The weights of the best average."""
        return dict(self.best.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Everything but the best average, and a frozen BERT, which is in it, as named tensors."""
        tensors = {f"network.{k}": v for k, v in parameter_groups.learned(self.averaged.network).items()}
        tensors |= {f"average.{k}": v for k, v in parameter_groups.learned(self.average).items()}
        return tensors | {"early": self.stopping.tensor()} | self.averaged.optimization.state()

    def load(self, served: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore the outputs of `served` and `state`; strict."""
        self.best.load_state_dict(served)
        frozen = {key: served[key] for key in served.keys() - parameter_groups.learned(self.best).keys()}
        self.averaged.network.load_state_dict(frozen | below(state, "network."))
        self.average.load_state_dict(frozen | below(state, "average."))
        self.stopping.load(state["early"])
        self.averaged.optimization.load(state)
