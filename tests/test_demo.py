"""`make demo`: what it runs, what it ends with, and that its size is one for slow machines."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import torch
from torch import nn

from tests.conftest import ROOT
from training import dcgan
from training.models.dcgan import ModelConfig, build

# Stands in for python: notes what it is asked for, answers as the commands do.
FAKE = """#!/usr/bin/env bash
echo "$*" >>calls
case "$*" in
  "-m serving up"*) echo $$ >pid; trap 'exit 0' TERM; sleep 60 & wait ;;
  "-m serving down") kill "$(cat pid)" ;;
  "-m serving try charlm"*) mkdir -p out; echo "A text that was written." >out/charlm.txt ;;
esac
"""


def test_it_ends_with_an_image_a_text_and_the_reports(tmp_path: Path) -> None:
    shutil.copy(ROOT / "demo.sh", tmp_path)
    fake = tmp_path / "python"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    result = subprocess.run(
        ["./demo.sh"],
        cwd=tmp_path,
        env={**os.environ, "PY": str(fake)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    for command in ("export build", "export archive", "serving try"):
        assert {line.split()[3] for line in calls if line.startswith(f"-m {command} ")} == {"dcgan", "charlm"}
    assert calls[-1] == "-m serving down"
    end = result.stdout.partition("== where the time went")[2]
    assert "out/dcgan.png" in end
    assert "A text that was written." in end
    for name in ("dcgan", "charlm"):
        assert f"artifacts/reports/{name}/report.html" in end


def multiplications(config: ModelConfig) -> int:
    """Of one image through generator and critic, forward."""
    count = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal count
        weight = module.get_parameter("weight")
        places = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        count += weight.numel() * places.shape[-1] * places.shape[-2]

    for network, given in zip(build(config, 0), ((2, config.latent), (2, 3, *[config.image_size] * 2)), strict=True):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(add)
        network(torch.zeros(given))
    return count


def test_its_images_are_trained_within_three_minutes_of_two_slow_cores() -> None:
    """Such a machine takes 278 images a second of the reference's sizes; small layers do two thirds as much."""
    config, schedule = dcgan.PRESETS["demo"], dcgan.SCHEDULES["demo"]
    there = 278 * 60 * schedule.max_minutes * multiplications(ModelConfig())
    assert 1.5 * schedule.steps * config.batch_size * multiplications(config.model) < there
    assert config.model.image_size == 32
    assert dcgan.PRESETS["paper"].model == ModelConfig()  # which stays the reference
