"""WaveGAN: losses against their formulas, phase shuffle, shapes; a resumed run equals the uninterrupted one."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.saved import assert_equal, tensors
from training import checkpoint
from training.__main__ import main
from training.checks import ConfigError
from training.models.wavegan import Critic, Described, Generator, Judgement, ModelConfig, build, phase_shuffled
from training.wavegan import Config, load_generator
from training.wavegan_losses import class_loss, critic_loss, generator_loss, overdriven, penalty

NAME = ["--name", "m", "--preset", "tiny"]
CLASSES = ("a", "b", "c")
SMALL = ModelConfig(rate=8000, samples=1024, latent=4, channels=2, critic="both", critic_channels=2)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("samples", "stages", "first"),
    [(64, 1, 16), (1024, 3, 16), (8192, 4, 32), (16384, 5, 16), (49152, 5, 48), (65536, 6, 16)],
)
def test_the_stages_follow_from_the_length(samples: int, stages: int, first: int) -> None:
    sizes = dataclasses.replace(SMALL, samples=samples)
    assert (sizes.stages, sizes.first) == (stages, first)
    generator, critics = build(Described.of(sizes, CLASSES), seed=0)
    audio = generator(torch.randn(2, 4), torch.tensor([0, 2]))
    assert audio.shape == (2, samples)
    assert [critic.judge(critic.view(audio), torch.tensor([0, 2]), random()).real.shape for critic in critics] == [
        (2,),
        (2,),
    ]


def test_the_reference_has_the_widths_of_the_paper() -> None:
    """Table 3 and 4 of the paper, d = 64, of one channel; the noise and the class come in by a dense layer."""
    generator, (critic,) = build(Described.of(ModelConfig(), CLASSES), seed=0)
    made: Any = generator.stages
    kernels = [tuple(stage.weight.shape) for stage in made]
    assert kernels == [(1024, 512, 25), (512, 256, 25), (256, 128, 25), (128, 64, 25), (64, 1, 25)]
    assert generator.dense.weight.shape == (16 * 1024, 100 + 16)
    stages: Any = critic.stages
    assert [tuple(stage.weight.shape[:2]) for stage in stages] == [
        (64, 1),
        (128, 64),
        (256, 128),
        (512, 256),
        (1024, 512),
    ]


@pytest.mark.parametrize("samples", [32, 1000, 8191, 131072])
def test_other_lengths_are_refused(samples: int) -> None:
    wanted = f"--samples is {samples}, wanted 16, 32 or 48 times a power of 4, 65536 at most: 1024, 2048, 4096, 8192,"
    with pytest.raises(ConfigError, match=wanted):
        ModelConfig(samples=samples)


def test_other_losses_and_critics_are_refused() -> None:
    with pytest.raises(ConfigError, match="--loss is 'hinge', wanted one of wgan-gp, r1"):
        Config(loss="hinge")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--critic is 'ear', wanted one of wave, mel, both"):
        ModelConfig(critic="ear")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--critic-steps is 0, wanted at least 1"):
        Config(critic_steps=0)


def test_losses_are_their_formulas() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    assert float(critic_loss("wgan-gp", real, fake)) == -1.0
    assert float(generator_loss("wgan-gp", fake)) == 0.0

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    apart = -sum(math.log(sigmoid(float(x))) for x in real) / 2
    apart -= sum(math.log(1 - sigmoid(float(x))) for x in fake) / 2
    assert float(critic_loss("r1", real, fake)) == pytest.approx(apart)
    assert float(generator_loss("r1", fake)) == pytest.approx(-sum(math.log(sigmoid(float(x))) for x in fake) / 2)
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    wanted = (math.log(1 + 2 * math.exp(-1)) + math.log(3)) / 2
    assert float(class_loss(Judgement(real, logits), torch.tensor([0, 2]))) == pytest.approx(wanted)


def test_samples_far_into_the_tanh_are_brought_back() -> None:
    samples = torch.tensor([[0.5, -2.0, 3.0], [-4.0, 0.0, 1.0]], requires_grad=True)
    loss = overdriven(samples)
    assert loss.item() == pytest.approx((1 + 4) / 6)
    loss.backward()  # type: ignore[no-untyped-call]
    assert samples.grad is not None
    assert samples.grad.sign().tolist() == [[0, 0, 1], [-1, 0, 0]]


class Quadratic(Critic):
    """Judges a wave x by x0^2 + 3 x1: its gradient is (2 x0, 3)."""

    def judge(self, seen: Tensor, label: Tensor, random: torch.Generator) -> Judgement:
        return Judgement(seen[:, 0] ** 2 + 3 * seen[:, 1], seen)


def test_penalties_are_their_formulas() -> None:
    label = torch.zeros(2, dtype=torch.int64)
    real, fake = torch.tensor([[2.0, 0.0], [0.0, 5.0]]), torch.tensor([[0.0, 1.0], [0.0, -5.0]])
    assert penalty("r1", Quadratic(), real, fake, label, random()).item() == pytest.approx(((16 + 9) + 9) / 2 / 2)
    part = torch.rand(2, generator=random(1))
    at = 2.0 * (1 - part[0])  # of the first clip's x0 on the way from real to generated; the second one's is 0
    wanted = ((torch.sqrt((2 * at) ** 2 + 9) - 1) ** 2 + (3 - 1) ** 2) / 2
    assert penalty("wgan-gp", Quadratic(), real, fake, label, random(1)).item() == pytest.approx(float(wanted))


def test_a_penalty_is_learned_from() -> None:
    critic = build(Described.of(SMALL, CLASSES), seed=0)[1][0]
    clips = torch.randn(3, 1024, generator=random())
    penalty("wgan-gp", critic, clips, -clips, torch.tensor([0, 1, 2]), random()).backward()  # type: ignore[no-untyped-call]
    stages: Any = critic.stages
    assert float(stages[0].weight.grad.abs().max()) > 0


def test_phase_shuffle_moves_every_row_and_reflects_at_the_ends() -> None:
    row = torch.arange(8.0)
    moved = phase_shuffled(row.expand(64, 2, 8), 2, random())
    found = {tuple(int(value) for value in channel) for clip in moved for channel in clip}
    assert found == {
        (2, 1, 0, 1, 2, 3, 4, 5),
        (1, 0, 1, 2, 3, 4, 5, 6),
        (0, 1, 2, 3, 4, 5, 6, 7),
        (1, 2, 3, 4, 5, 6, 7, 6),
        (2, 3, 4, 5, 6, 7, 6, 5),
    }
    assert torch.equal(moved[:, 0], moved[:, 1])  # the channels of a clip stay together
    assert torch.equal(phase_shuffled(row.expand(1, 2, 8), 0, random())[0, 0], row)


@pytest.mark.parametrize("hertz", [0, 1000, 2000, 4000])
def test_a_critic_of_spectrograms_sees_every_loud_tone(hertz: int) -> None:
    """Mel bands begin above 0 Hz and end below half the rate; and the logarithm of what is loud hardly changes."""
    critic = build(Described.of(SMALL, CLASSES), seed=0)[1][1]
    at = torch.arange(1024) / SMALL.rate
    tone = torch.cos(2 * math.pi * hertz * at)[None]
    quiet, loud = (critic.view(level * tone) for level in (0.6, 0.9))
    amplitudes = (loud - quiet)[:, 80:].amax(dim=1)  # (1, F)
    assert float(amplitudes[:, 2:-2].min()) > 1.5
    assert float((loud - quiet)[:, :80, 2:-2].abs().max()) < 0.2


@pytest.mark.parametrize("critic", [0, 1])
def test_a_critic_reads_the_class(critic: int) -> None:
    judge = build(Described.of(dataclasses.replace(SMALL, phase_shuffle=0), CLASSES), seed=0)[1][critic]
    heads: Any = judge.heads
    torch.nn.init.normal_(heads.said.weight)
    seen = judge.view(torch.randn(1, 1024, generator=random()).clamp(-1, 1))
    first, again, other = (judge.judge(seen, torch.tensor([label]), random()).real for label in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_generator_reads_the_class_and_the_noise(normalize: bool) -> None:
    generator = Generator(Described.of(dataclasses.replace(SMALL, normalize=normalize), CLASSES)).eval()
    z = torch.randn(2, 4, generator=random())
    clips = generator(torch.cat([z[:1], z[:1], z[1:]]), torch.tensor([0, 1, 0]))
    assert not torch.equal(clips[0], clips[1])
    assert not torch.equal(clips[0], clips[2])
    assert float(clips.detach().abs().max()) <= 1.0


@pytest.mark.slow
def test_a_run_leaves_checkpoint_log_pictures_and_sounds(workspace: Path) -> None:
    assert main(["wavegan", *NAME]) == 0
    meta, network = load_generator(checkpoint.directory("m"))
    assert (meta.step, meta.recipe, meta.model["samples"]) == (4, "wavegan", 1024)
    assert network.config.classes == tuple("0123456789")
    assert not network.training
    assert {"generator", "critic", "log_mel_db", "frechet", "frechet_floor"} <= meta.metrics.keys()
    lines = [json.loads(line) for line in Path("artifacts/runs/m/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "clips_per_s" in line] == [1, 2, 3, 4]
    samples = Path("artifacts/runs/m/samples")
    assert sorted(path.name for path in samples.iterdir()) == [
        f"step-000000{step}{suffix}" for step in (2, 4) for suffix in (".png", ".wav")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--loss", "r1", "--critic", "mel", "--normalize"]])
def test_a_resumed_run_equals_the_uninterrupted_one(workspace: Path, options: list[str]) -> None:
    command = ["wavegan", *NAME, *options, "--precision", "fp32"]
    assert main([*command, "--steps", "5"]) == 0
    whole = tensors("m")
    assert main([*command, "--steps", "2", "--restart"]) == 0
    assert main([*command, "--steps", "5"]) == 0
    assert_equal(tensors("m"), whole)
