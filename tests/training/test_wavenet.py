"""WaveNet: what is causal, what a step keeps, what is learned from, and a run that goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.support.saved import assert_equal, tensors
from training import checkpoint
from training.__main__ import main
from training.data import SoundSet, digits
from training.models.wavenet import SILENCE, WaveNet, build, decode, encode
from training.models.wavenet_config import Described
from training.wavenet import IGNORED, PRESETS, crops, load_generator, rate_factor, told
from training.wavenet_conditions import of_class, of_clip
from training.wavenet_sampling import sample

NAME = ["--name", "m", "--preset", "tiny"]
MODEL = Described(
    rate=8000, cycles=2, doublings=3, residual=6, skip=10, hidden=8, parts=3, classes=("a", "b"), seconds=0.05
)


@pytest.fixture(scope="module")
def world() -> SoundSet:
    return digits.sound_set(8000, 3200, 16)


def network() -> WaveNet:
    return build(MODEL, 1).eval()


def test_mu_law_is_the_formula_and_comes_back_within_half_a_level() -> None:
    waves = torch.linspace(-1, 1, 2001)
    levels = encode(waves)
    assert (int(levels.min()), int(levels.max()), int(encode(torch.zeros(1)))) == (0, 255, SILENCE)
    assert torch.equal(encode(decode(torch.arange(256))), torch.arange(256))
    formula = [math.copysign(math.log1p(255 * abs(x)) / math.log(256), x) for x in waves.tolist()]
    assert (2 * levels / 255 - 1 - torch.tensor(formula)).abs().max() <= 1 / 255 + 1e-6


@torch.no_grad()
def test_a_score_depends_on_the_past_within_the_receptive_field_alone() -> None:
    levels = torch.randint(0, 256, (1, 128), generator=torch.Generator().manual_seed(0))
    conditions = torch.zeros(1, 2, MODEL.inputs)
    wanted = network()(levels, conditions)
    at = 40
    other = levels.clone()
    other[0, at] = (other[0, at] + 100) % 256
    changed = (network()(other, conditions) - wanted).abs().amax(dim=2)[0] > 0
    assert MODEL.field == 2 * 7 + 1
    assert changed.nonzero().flatten().tolist() == list(range(at, at + MODEL.field))


@torch.no_grad()
def test_steps_with_rings_give_the_scores_of_the_whole_recomputed() -> None:
    made, count = network(), 3
    random = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (count, 128), generator=random)
    conditions = torch.rand(count, 2, MODEL.inputs, generator=random)
    whole = made(levels, conditions)
    rings = [torch.zeros(dilation, count, MODEL.residual) for dilation in MODEL.dilations]
    for at in range(128):
        past = torch.stack([ring[at % len(ring)] for ring in rings], dim=1)
        logits, push = made.step(levels[:, at], past, conditions[:, at // MODEL.frame])
        for ring, given in zip(rings, push.unbind(1), strict=True):
            ring[at % len(ring)] = given
        assert torch.allclose(logits, whole[:, at], atol=1e-5)


def test_all_layers_at_once_are_the_layers_one_after_the_other_and_so_is_the_gradient() -> None:
    made = build(MODEL, 1)
    random = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (3, 100), generator=random)  # the last frame is not full
    conditions = torch.rand(3, 2, MODEL.inputs, generator=random)
    weight = torch.randn(3, 100, 256, generator=random)
    found, wanted = made(levels, conditions), _one_by_one(made, levels, conditions)
    assert torch.allclose(found, wanted, atol=1e-5)
    names, parameters = zip(*made.named_parameters(), strict=True)
    gradients = [torch.autograd.grad((logits * weight).sum(), parameters) for logits in (found, wanted)]
    for name, ours, theirs in zip(names, *gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4), name
        assert float(theirs.abs().max()) > 1e-3, name
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(made(levels, conditions).float(), wanted, atol=0.1)


def _one_by_one(made: WaveNet, levels: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
    spread = made.spread_of(conditions)
    below, skips = made.embedding(levels), torch.zeros(())
    for at, layer in enumerate(made.layers):
        now = spread[:, :, at].repeat_interleave(MODEL.frame, dim=1)[:, : levels.shape[1]]
        below, skip = layer(below, now)
        skips = skips + skip
    return made.logits_of(skips)


def test_samples_are_those_that_full_recomputation_draws() -> None:
    made, conditions = network(), torch.rand(2, 2, MODEL.inputs, generator=torch.Generator().manual_seed(0))
    waves = sample(made, conditions, 0.9, seed=5)
    random = torch.Generator().manual_seed(5)
    levels = torch.full((2, 1), SILENCE)
    with torch.no_grad():
        for _ in range(2 * MODEL.frame):
            padded = F.pad(levels, (0, 2 * MODEL.frame - levels.shape[1]))
            scores = made(padded, conditions)[:, levels.shape[1] - 1]
            drawn = torch.multinomial(torch.softmax(scores / 0.9, dim=1), 1, generator=random)
            levels = torch.cat([levels, drawn], dim=1)
    assert torch.equal(waves, decode(levels[:, 1:]))


def test_crops_are_parts_of_clips_with_their_conditions(world: SoundSet) -> None:
    model = dataclasses.replace(MODEL, classes=world.classes)
    seen: set[bool] = set()
    silent: set[bool] = set()
    for step in range(12):
        before, told_of, targets = crops(world, model, 1024, 4, seed=0, step=step)
        assert (before.shape, told_of.shape) == ((4, 1024), (4, 16, model.inputs))
        for row in range(4):
            known = (targets[row] != IGNORED).nonzero().flatten()
            first, last = int(known[0]), int(known[-1])
            assert torch.equal(before[row, first + 1 : last + 1], targets[row, first:last])
            silent.add(bool(first and (before[row, : first + 1] == SILENCE).all()))
            seen.add(first == 0)
            assert first in (0, model.field)
            fits = False
            for index in world.learned:
                whole = encode(torch.from_numpy(world.waves(np.array([index]), len(world.clip(int(index))))[0]))
                conditions = of_class(model, int(world.labels[index]), len(whole))
                for begin in range(0, len(whole), model.frame):
                    part = whole[begin + first : begin + last + 1]
                    same = len(part) == last + 1 - first and torch.equal(part, targets[row, first : last + 1])
                    fits = fits or (same and torch.equal(told_of[row, 0], conditions[begin // model.frame]))
            assert fits
    assert seen == silent == {True, False}


@pytest.mark.slow
def test_the_loss_is_the_cross_entropy_in_bits(workspace: Path) -> None:
    assert main(["wavenet", *NAME, "--steps", "1", "--precision", "fp32", "--jitter", "0"]) == 0
    _, made = load_generator(checkpoint.directory("m"))
    fresh = build(made.config, 0)
    data = digits.sound_set(8000, 800, 64)
    before, told_of, targets = crops(data, made.config, 512, 4, 0, 1)
    with torch.no_grad():
        chances = torch.softmax(fresh(before, told_of), dim=2).log2()
    known = targets != IGNORED
    wanted = -chances[known].gather(1, targets[known][:, None]).mean()
    lines = [json.loads(line) for line in Path("artifacts/runs/m/log.jsonl").read_text().splitlines()]
    (found,) = [line["loss"] for line in lines if "loss" in line]
    assert found == pytest.approx(float(wanted), abs=0.001)


def test_the_learning_rate_grows_and_falls() -> None:
    assert rate_factor(1, 1000) == pytest.approx(0.02, rel=0.01)
    assert rate_factor(500, 1000) == pytest.approx(0.525)
    assert rate_factor(1000, 1000) == rate_factor(5000, 1000) == pytest.approx(0.05)


def test_a_vocoder_hears_the_clip_that_it_says(world: SoundSet) -> None:
    model = dataclasses.replace(MODEL, condition="mel", classes=world.classes)
    assert (model.inputs, of_clip(model, 0, np.zeros(1000, np.float32)).shape) == (80, (16, 80))
    labels = world.labels[world.held_out[:3]]
    conditions = told(model, world, labels)
    assert conditions.shape[::2] == (3, 80)
    assert float(conditions.max()) > float(conditions.min()) + 1
    made = build(model, 0)
    assert sample(made, conditions[:, :1], 1.0, 0).shape == (3, model.frame)


@pytest.mark.slow
def test_a_run_leaves_checkpoint_and_sounds(workspace: Path) -> None:
    assert main(["wavenet", *NAME]) == 0
    meta, made = load_generator(checkpoint.directory("m"))
    assert (meta.recipe, made.config.classes, made.config.residual) == ("wavenet", digits.CLASSES, 8)
    assert {"loss", "bits_per_sample", "log_mel_db", "frechet"} <= meta.metrics.keys()
    assert Path("artifacts/runs/m/samples/step-0000004.wav").stat().st_size > 1000
    assert set(PRESETS) == {"tiny", "demo", "paper", "vocoder"}


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["class", "mel"])
def test_a_resumed_run_equals_the_uninterrupted_one(workspace: Path, condition: str) -> None:
    command = ["wavenet", *NAME, "--condition", condition]
    assert main([*command, "--steps", "5"]) == 0
    whole, metrics = tensors(), checkpoint.read(checkpoint.directory("m")).metrics
    assert main([*command, "--restart", "--steps", "2"]) == 0
    torch.rand(1)  # nothing hangs on the global random state
    assert main([*command, "--steps", "5"]) == 0
    assert_equal(whole, tensors())
    assert checkpoint.read(checkpoint.directory("m")).metrics == metrics


@pytest.mark.slow
def test_it_learns(workspace: Path) -> None:
    assert main(["wavenet", *NAME, "--steps", "150", "--sample-every", "1000", "--learning-rate", "0.01"]) == 0
    assert checkpoint.read(checkpoint.directory("m")).metrics["bits_per_sample"] < 6.5  # of 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crop", "10"], "--crop is 10, wanted at least 64"),
        (["--doublings", "0"], "--doublings is 0, wanted at least 1"),
        (["--temperature", "0"], "--temperature is 0.0, wanted more than 0"),
        (["--condition", "words"], "invalid choice 'words'"),
    ],
)
def test_bad_commands_are_refused(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        code = main(["wavenet", *NAME, *arguments])
    except SystemExit as stop:  # tyro's own way of refusing
        code = int(str(stop.code))
    assert code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
