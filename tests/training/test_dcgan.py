"""The recipe of image GANs: its learning rate, which falls where it is asked to."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from training import checkpoint, dcgan
from training.__main__ import main
from training.checks import ConfigError
from training.dcgan import PRESETS, SCHEDULES, Config, Networks
from training.gan import r1

NAME = ["--name", "f", "--preset", "tiny", "--fall-steps", "8"]


def test_the_learning_rate_falls_to_nothing_in_the_second_half() -> None:
    config = Config(learning_rate=1.0, fall_steps=8)
    assert [config.rate(step) for step in (1, 4, 5, 6, 8)] == [1.0, 1.0, 1.0, 0.75, 0.25]
    assert config.rate(9) == config.rate(1000) == 0.25  # a run that goes on longer goes on learning
    assert Config(learning_rate=1.0).rate(10**9) == 1.0


def test_both_optimizers_have_the_rate_of_the_step() -> None:
    config = Config(**{**vars(PRESETS["tiny"]), "learning_rate": 1.0, "fall_steps": 8})
    networks = Networks(config, "cpu")
    before = [parameter.detach().clone() for parameter in networks.critic.parameters()]
    networks.update(torch.zeros(4, 3, 16, 16), step=8)
    first = [(new - old).abs().max() for new, old in zip(networks.critic.parameters(), before, strict=True)]
    assert float(max(first).detach()) == pytest.approx(0.25, rel=1e-3)  # Adam's first step is as long as its rate


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("fall_steps", 1, "at least 2, or none"),
        ("penalty", 0.0, "more than 0, or none"),
        ("penalty", float("nan"), "more than 0, or none"),
    ],
)
def test_what_cannot_be_is_refused(field: str, value: float, wanted: str) -> None:
    message = f"--{field.replace('_', '-')} is {value}, wanted {wanted}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config(**{field: value})  # type: ignore[arg-type]


def test_the_penalty_is_half_the_squared_gradient() -> None:
    weights = torch.arange(12.0).reshape(3, 2, 2)

    class Critic(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images * weights).flatten(1).sum(dim=1)

    assert float(r1(Critic(), torch.randn(5, 3, 2, 2))) == pytest.approx(float((weights**2).sum()) / 2)


def test_the_penalty_is_taken_every_sixteenth_step() -> None:
    plain = Config(**{**vars(PRESETS["tiny"]), "precision": "fp32"})
    real = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def losses(config: Config, step: int) -> float:
        return Networks(config, "cpu").update(real, step)["critic"]

    punished = dataclasses.replace(plain, penalty=1.0)
    assert losses(punished, 15) == losses(plain, 15)
    networks = Networks(plain, "cpu")
    weight = dcgan.LAZY * float(r1(networks.critic, real).detach())
    assert losses(punished, 16) == pytest.approx(losses(plain, 16) + weight, rel=1e-4)


def test_the_demo_has_fallen_when_it_ends() -> None:
    assert PRESETS["demo"].fall_steps == SCHEDULES["demo"].steps


@pytest.mark.slow
def test_a_run_that_is_resumed_in_its_fall_learns_the_same(workspace: Path) -> None:
    assert main(["dcgan", *NAME, "--steps", "5"]) == 0
    assert main(["dcgan", *NAME, "--steps", "8"]) == 0
    there = checkpoint.load_model(checkpoint.opened(checkpoint.directory("f")))[1]
    whole = [*NAME]
    whole[1] = "g"
    assert main(["dcgan", *whole, "--steps", "8"]) == 0
    for name, tensor in checkpoint.load_model(checkpoint.opened(checkpoint.directory("g")))[1].items():
        assert torch.equal(tensor, there[name]), name


@pytest.mark.slow
def test_a_checkpoint_from_before_there_was_a_fall_goes_on(workspace: Path) -> None:
    plain = ["dcgan", "--name", "f", "--preset", "tiny"]
    assert main([*plain, "--steps", "3"]) == 0
    path = checkpoint.directory("f") / checkpoint.META
    text = path.read_text()
    assert '"fall_steps": null' in text
    path.write_text(re.sub(r'\s*"fall_steps": null,', "", text))
    assert main([*plain, "--steps", "6"]) == 0
    assert dcgan.load_generator(checkpoint.directory("f"))[0].step == 6
