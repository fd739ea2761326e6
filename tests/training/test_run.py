"""A whole run: resumed equals uninterrupted, killed loses little, and every refusal says why."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.support.saved import assert_equal, tensors
from training import checkpoint, evaluate_images
from training.__main__ import main
from training.checks import ConfigError
from training.log import Log
from training.recipes import RECIPES
from training.run import Schedule

NAME = ["--name", "m", "--preset", "tiny"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_run_leaves_checkpoint_log_and_pictures(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dcgan", *NAME]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"^step 1 of 6, generator [\d.]+, critic [\d.]+, \d+ images/s, at most [\d.]+ min", said, re.MULTILINE
    )
    meta = checkpoint.read(checkpoint.directory("m"))
    assert (meta.step, meta.recipe, meta.model["image_size"]) == (6, "dcgan", 16)
    assert meta.metrics.keys() >= {"generator", "critic", "swd", "swd_floor"}
    assert meta.data["name"].startswith("drawn-faces-v2-16px")
    steps = [json.loads(line)["step"] for line in Path("artifacts/runs/m/log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 6
    with Image.open("artifacts/runs/m/samples/step-0000006.png") as grid:
        assert grid.size == (8 * 16 * 2, 8 * 16 * 2)
    with Image.open("artifacts/runs/m/losses.png") as plot:
        assert plot.size > (400, 200)


@pytest.mark.slow
def test_a_resumed_run_equals_the_uninterrupted_one(workspace: Path) -> None:
    assert main(["dcgan", *NAME, "--steps", "9"]) == 0
    whole = tensors()
    lines = Path("artifacts/runs/m/log.jsonl").read_text().splitlines()
    assert main(["dcgan", *NAME, "--restart", "--steps", "4"]) == 0
    assert main(["dcgan", *NAME, "--steps", "9"]) == 0
    assert_equal(whole, tensors())
    losses = [json.loads(line)["critic"] for line in lines if "images_per_s" in line]
    again = [json.loads(line) for line in Path("artifacts/runs/m/log.jsonl").read_text().splitlines()]
    assert losses == [line["critic"] for line in again if "images_per_s" in line]


@pytest.mark.slow
def test_resuming_goes_on_from_the_last_checkpoint_after_a_kill(workspace: Path) -> None:
    assert main(["dcgan", *NAME, "--steps", "40", "--save-every", "5", "--log-every", "1"]) == 0
    whole = tensors()
    command = [sys.executable, "-m", "training", "dcgan", "--name", "k", "--preset", "tiny"]
    command += ["--steps", "40", "--save-every", "5", "--log-every", "1"]
    kills = 0
    for moment in (0, 7, 22):  # steps after which to kill -9
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        log = Path("artifacts/runs/k/log.jsonl")
        begin = time.monotonic()
        while process.poll() is None and time.monotonic() - begin < 60:
            lines = [line for line in log.read_text().splitlines() if line.endswith("}")] if log.exists() else []
            if lines and json.loads(lines[-1])["step"] > moment:
                process.kill()
                kills += process.wait() == -signal.SIGKILL
                break
            time.sleep(0.002)
        if (checkpoint.directory("k") / "checkpoint.json").exists():
            assert checkpoint.load_state(checkpoint.directory("k"))[0].step % 5 == 0  # whole
    assert kills >= 2
    lost_at_most = checkpoint.read(checkpoint.directory("k")).step
    assert lost_at_most >= 20
    assert subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert_equal(whole, tensors("k"))


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(workspace: Path) -> None:
    command = [sys.executable, "-m", "training", "dcgan", *NAME, "--steps", "100000", "--save-every", "100000"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    log = Path("artifacts/runs/m/log.jsonl")
    while not (log.exists() and log.stat().st_size > 500) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)  # people press it twice
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after this step; everything will be saved" in errors
    assert "Traceback" not in errors
    assert "the same command goes on" in errors
    step = checkpoint.read(checkpoint.directory("m")).step
    assert step > 0
    saved = tensors()
    assert (
        main(["dcgan", *NAME, "--restart", "--steps", str(step), "--save-every", "100000", "--sample-every", "9999"])
        == 0
    )
    assert_equal(saved, tensors())  # a whole step, not one torn in the middle


def test_a_restart_that_cannot_begin_keeps_what_is_there(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dcgan", *NAME]) == 0
    before = tensors()
    assert main(["dcgan", *NAME, "--restart", "--data", "typo.zip"]) == 1
    assert "typo.zip does not exist" in capsys.readouterr().err
    assert main(["dcgan", *NAME, "--restart", "--device", "cpu", "--precision", "fp16"]) == 1
    assert_equal(before, tensors())


@pytest.mark.slow
def test_figures_of_an_earlier_step_are_not_kept(workspace: Path) -> None:
    assert main(["dcgan", *NAME, "--steps", "3", "--sample-every", "1000"]) == 0
    assert main(["dcgan", *NAME, "--steps", "9", "--sample-every", "1000"]) == 0
    resumed = checkpoint.read(checkpoint.directory("m")).metrics
    assert main(["dcgan", *NAME, "--steps", "9", "--sample-every", "1000", "--restart"]) == 0
    assert checkpoint.read(checkpoint.directory("m")).metrics == resumed


def test_max_minutes_ends_a_run_whole(workspace: Path) -> None:
    assert main(["dcgan", *NAME, "--steps", "1000000", "--max-minutes", "0.01"]) == 0
    meta = checkpoint.read(checkpoint.directory("m"))
    assert 0 < meta.step < 1000000
    assert "swd_floor" in meta.metrics


@pytest.mark.slow
def test_another_config_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dcgan", *NAME]) == 0
    before = tensors()
    assert main(["dcgan", *NAME, "--learning-rate", "0.01"]) == 1
    assert "learning_rate was 0.0002, now 0.01" in capsys.readouterr().err
    assert main(["hdgan", *NAME]) == 1
    assert "was trained by recipe dcgan, not hdgan" in capsys.readouterr().err
    assert_equal(before, tensors())
    assert main(["dcgan", *NAME, "--learning-rate", "0.01", "--restart"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "name"), [("dcgan", "kimg"), ("charlm", "krows"), ("summarizer", "kpairs")])
def test_a_run_with_a_field_by_its_former_name_resumes(
    workspace: Path, capsys: pytest.CaptureFixture[str], recipe: str, name: str
) -> None:
    assert main([recipe, *NAME, "--steps", "2"]) == 0
    file = checkpoint.directory("m") / checkpoint.META
    raw = json.loads(file.read_text())
    raw["config"][f"ema_half_life_{name}"] = raw["config"].pop("ema_half_life_kitems")
    file.write_text(json.dumps(raw))
    assert main([recipe, *NAME, "--steps", "3"]) == 0
    assert "step 2 of 3 (resumed)" in capsys.readouterr().out
    assert checkpoint.read(checkpoint.directory("m")).step == 3
    file.write_text(json.dumps(raw | {"step": 2}))
    raw["config"][f"ema_half_life_{name}"] += 1
    file.write_text(json.dumps(raw))
    assert main([recipe, *NAME, "--steps", "3"]) == 1
    assert "ema_half_life_kitems was" in capsys.readouterr().err


def test_changed_data_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = workspace / "images"
    images.mkdir()
    for i in range(8):
        Image.new("RGB", (16, 16), (i * 20, 0, 0)).save(images / f"{i}.png")
    command = ["dcgan", *NAME, "--data", str(images)]
    assert main(command) == 0
    Image.new("RGB", (16, 16), "blue").save(images / "0.png")
    assert main([*command, "--steps", "8"]) == 1
    assert "restore the data, or --restart" in capsys.readouterr().err


def test_nan_stops_the_run_with_the_reason(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dcgan", *NAME, "--learning-rate", "1e30", "--steps", "50"]) == 1
    message = capsys.readouterr().err
    assert "loss is nan" in message or "loss is inf" in message
    assert "try a lower --learning-rate" in message


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(workspace: Path) -> None:
    """A real write error from the kernel: the process may not write files over 100 kB."""
    assert main(["dcgan", *NAME]) == 0
    before = tensors()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-m", "training", "dcgan", *NAME, "--steps", "12"]
    answer = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert answer.returncode == 1, answer.stderr
    assert "could not write the checkpoint of step 9" in answer.stderr
    assert "run the same command again" in answer.stderr
    assert_equal(before, tensors())
    assert len(list(checkpoint.directory("m").iterdir())) == 3


def test_a_directory_without_images_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "empty").mkdir()
    assert main(["dcgan", *NAME, "--data", "empty"]) == 1
    assert "empty holds no images" in capsys.readouterr().err
    assert not Path("artifacts/checkpoints/m").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope", "--name", "m"], f"unknown recipe 'nope'; known recipes: {', '.join(sorted(RECIPES))}"),
        (["dcgan", "--name", "m", "--preset", "huge"], "no preset 'huge'; choose one of tiny, demo, paper"),
        (["dcgan", "--name", "../m", "--preset", "tiny"], "--name is '../m', wanted letters, digits"),
        (["dcgan", *NAME, "--image-size", "48"], "--image-size is 48, wanted a power of two"),
        (["dcgan", *NAME, "--save-every", "0"], "--save-every is 0, wanted at least 1"),
        (["dcgan", *NAME, "--batch-size", "1"], "--batch-size is 1, wanted at least 2"),
    ],
)
def test_bad_commands_are_refused(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        code = main(arguments)
    except SystemExit as stop:  # tyro's own way of refusing
        code = int(str(stop.code))
    assert code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not Path("artifacts").exists()


def test_fp16_on_a_cpu_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dcgan", *NAME, "--device", "cpu", "--precision", "fp16"]) == 1
    assert "--precision fp16 needs a CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("operands could not be broadcast"), RuntimeError("mat1 and mat2")])
def test_a_defect_keeps_its_traceback(workspace: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A shape error of torch or numpy is no mistake of the caller: it is not turned into a line."""

    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(evaluate_images, "sliced_wasserstein", fail)
    with pytest.raises(type(error), match=str(error)) as raised:
        main(["dcgan", *NAME])
    assert "sliced_wasserstein" in "".join(traceback.format_tb(raised.tb))


def test_the_log_drops_lines_after_the_resumed_step(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    for step in (1, 2, 3):
        log.write(step, {"critic": float(step)})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "cri')  # cut short by a kill
    again = Log(tmp_path, 2)
    again.close()
    assert [line["step"] for line in again.read()] == [1, 2]


def test_schedules_are_checked() -> None:
    with pytest.raises(ConfigError, match="--log-every is 0, wanted at least 1"):
        Schedule(log_every=0)


@pytest.mark.gpu
def test_mixed_precision_with_a_gradient_scaler(workspace: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert main(["dcgan", *NAME, "--device", "cuda"]) == 0
    assert "scaler" in tensors()
    assert main(["dcgan", *NAME, "--device", "cuda", "--steps", "9"]) == 0
