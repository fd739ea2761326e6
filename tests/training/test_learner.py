"""The learner of one network: its average follows it, and a restored one goes on bit for bit, dropout included."""

from __future__ import annotations

import torch
from torch import nn

from training.config import RecipeConfig
from training.learner import AveragedNetwork

CONFIG = RecipeConfig(batch_size=4, learning_rate=0.1, precision="fp32", seed=3)
X = torch.arange(12.0).reshape(4, 3)


def new(seed: int) -> AveragedNetwork[nn.Sequential]:
    torch.manual_seed(seed)
    return AveragedNetwork.new(nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)), CONFIG, clip=1.0)


def step(learner: AveragedNetwork[nn.Sequential], at: int) -> float:
    with learner.forward(at):
        loss = learner.network(X).square().mean()
    learner.learn(loss, at)
    return float(loss.detach())


def test_a_restored_learner_goes_on_as_the_whole_one() -> None:
    whole = new(0)
    losses = [step(whole, at) for at in range(1, 7)]
    half = new(0)
    assert [step(half, at) for at in range(1, 4)] == losses[:3]
    saved = [{name: tensor.clone() for name, tensor in part.items()} for part in (half.served(), half.state())]
    again = new(1)  # other weights, all of which are replaced
    again.load(*saved)
    torch.rand(7)  # nothing hangs on the global random state
    assert [step(again, at) for at in range(4, 7)] == losses[3:]
    for name, tensor in {**whole.served(), **whole.state()}.items():
        assert torch.equal(tensor, {**again.served(), **again.state()}[name]), name


def test_the_average_is_another_network_and_follows() -> None:
    learner = new(0)
    before = learner.served()["0.weight"].clone()
    for at in range(1, 4):
        step(learner, at)
    assert not learner.average.training
    assert not torch.equal(learner.served()["0.weight"], before)
    assert not torch.equal(learner.served()["0.weight"], learner.network.state_dict()["0.weight"])


def test_a_shared_part_stays_one() -> None:
    inner = nn.Linear(3, 3).requires_grad_(False)
    network = nn.Sequential(inner, nn.Linear(3, 1))
    learner = AveragedNetwork.new(
        network, CONFIG, groups=[{"params": network[1].parameters()}], shared={id(inner): inner}
    )
    assert learner.average[0] is inner
    assert learner.average[1] is not network[1]
