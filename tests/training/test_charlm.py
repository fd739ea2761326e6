"""The language model over bytes: it learns with every cell, and a resumed run equals the uninterrupted one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.support.saved import assert_equal, tensors
from training import checkpoint
from training.__main__ import main
from training.byte_rows import IGNORED, inputs_and_targets, row_spans
from training.charlm import load_generator
from training.data.texts import stream
from training.evaluate_bytes import bits_per_byte, sample
from training.models.cells import CELLS, CellName
from training.models.charlm import BOUNDARY, CharLM, ModelConfig, build

NAME = ["--name", "m", "--preset", "tiny"]
SMALL = ModelConfig(embedding=8, hidden=16, layers=2)


def test_rows_are_whole_texts_and_long_texts_are_cut_at_characters() -> None:
    texts = ["short", "é" * 9, "exactly8", "x"]
    row = stream(texts)
    spans = row_spans(row, longest=8)
    rows = [row[begin:end].tobytes() for begin, end in spans]
    assert rows[0] == b"\0short\0"
    assert rows[-1] == b"\0x\0"
    # Every byte is predicted once: what follows the first byte of each row, put together, is the stream.
    assert b"".join(part[1:] for part in rows) == row[1:].tobytes()
    for begin, end in spans:
        assert end - begin <= 8 + 1
        assert row[begin] & 0xC0 != 0x80
    assert sum(part[0] == BOUNDARY for part in rows) == len(texts)


def test_targets_are_the_next_bytes_and_padding_is_ignored() -> None:
    inputs, targets = inputs_and_targets([np.array([0, 7, 8, 0], np.uint8), np.array([0, 9, 0], np.uint8)])
    assert inputs.tolist() == [[0, 7, 8], [0, 9, 0]]
    assert targets.tolist() == [[7, 8, 0], [9, 0, IGNORED]]


def test_bits_per_byte_of_a_network_that_knows_nothing() -> None:
    network = build(SMALL, seed=0).eval()
    torch.nn.init.zeros_(network.output.weight)
    assert bits_per_byte(network, ["a", "längere Texte", "x" * 2000] * 30) == 8.0


@pytest.mark.parametrize("cell", CELLS)
def test_samples_follow_the_seed_and_stop_at_the_boundary(cell: CellName) -> None:
    network = build(dataclasses.replace(SMALL, cell=cell), seed=0).eval()
    assert sample(network, 3, 0.7, seed=1) == sample(network, 3, 0.7, seed=1) != sample(network, 3, 0.7, seed=2)
    torch.nn.init.zeros_(network.output.weight)
    with torch.no_grad():
        network.output.bias[[ord("a"), BOUNDARY]] = 50.0
    drawn = sample(network, 50, 1.0, seed=0)
    assert {character for text in drawn for character in text} == {"a"}
    assert len({len(text) for text in drawn}) > 3


@pytest.mark.slow
def test_a_run_leaves_checkpoint_log_plot_and_texts(workspace: Path) -> None:
    assert main(["charlm", *NAME]) == 0
    meta, network = load_generator(checkpoint.directory("m"))
    assert (meta.step, meta.recipe, meta.model["hidden"], meta.model["cell"]) == (6, "charlm", 32, "lstm")
    assert meta.metrics.keys() == {"loss", "bits_per_byte", "valid", "bits_per_byte_train"}
    assert meta.data["name"] == "sentences-v2-64"
    assert isinstance(network, CharLM)
    assert not network.training
    lines = [json.loads(line) for line in Path("artifacts/runs/m/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "texts_per_s" in line] == [1, 2, 3, 4, 5, 6]
    assert len(Path("artifacts/runs/m/samples/step-0000006.txt").read_text("utf-8").split("\n\n")) >= 32
    assert Path("artifacts/runs/m/losses.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_resumed_run_equals_the_uninterrupted_one(workspace: Path, cell: CellName) -> None:
    command = ["charlm", *NAME, "--cell", cell]
    assert main([*command, "--steps", "9"]) == 0  # with dropout
    whole = tensors()
    metrics = checkpoint.read(checkpoint.directory("m")).metrics
    assert main([*command, "--restart", "--steps", "4"]) == 0
    torch.rand(1)  # nothing hangs on the global random state
    assert main([*command, "--steps", "9"]) == 0
    assert_equal(whole, tensors())
    assert checkpoint.read(checkpoint.directory("m")).metrics == metrics


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(workspace: Path) -> None:
    command = ["charlm", *NAME, "--save-every", "100000", "--sample-every", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *command, "--steps", "100000"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    log = Path("artifacts/runs/m/log.jsonl")
    while not (log.exists() and log.stat().st_size > 500) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    more = str(checkpoint.read(checkpoint.directory("m")).step + 5)
    assert main([*command, "--steps", more]) == 0
    resumed = tensors()
    assert main([*command, "--steps", more, "--restart"]) == 0
    assert_equal(resumed, tensors())


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "steps"), [("rnn", 200), ("lstm", 200), ("gru", 500)])
def test_it_learns(workspace: Path, cell: CellName, steps: int) -> None:
    """A fresh GRU writes little, since it keeps less of what it writes over: it begins more slowly than the others."""
    small = ["--cell", cell, "--layers", "1", "--hidden", "64", "--dropout", "0", "--learning-rate", "0.02"]
    assert main(["charlm", *NAME, *small, "--steps", str(steps), "--sample-every", "1000"]) == 0
    metrics = checkpoint.read(checkpoint.directory("m")).metrics
    assert metrics["bits_per_byte"] < 3.5  # of 8; the frequencies of the bytes alone give more than 4


@pytest.mark.slow
def test_texts_of_a_file_are_learned_and_their_change_is_refused(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my.txt").write_text("\n".join(f"line {number} of a café" for number in range(30)), "utf-8")
    command = ["charlm", *NAME, "--data", "my.txt"]
    assert main(command) == 0
    meta = checkpoint.read(checkpoint.directory("m"))
    assert meta.data["name"] == "my.txt-30"
    assert meta.metrics.keys() == {"loss", "bits_per_byte", "bits_per_byte_train"}  # nobody can judge them
    Path("my.txt").write_text("other\ntexts")
    assert main([*command, "--steps", "8"]) == 1
    assert "restore the data, or --restart" in capsys.readouterr().err


def test_a_file_that_is_missing_changes_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["charlm", *NAME, "--data", "typo.txt"]) == 1
    assert "typo.txt does not exist; give a UTF-8 file" in capsys.readouterr().err
    assert not Path("artifacts").exists()


def test_nan_stops_the_run_with_the_reason(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["charlm", *NAME, "--learning-rate", "1e38", "--steps", "50"]) == 1
    assert "try a lower --learning-rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "--batch-size is 0, wanted at least 1"),
        (["--row", "2"], "--row is 2, wanted at least 8"),
        (["--seed", "-1"], "--seed is -1, wanted at least 0"),
        (["--clip", "0"], "--clip is 0.0, wanted more than 0"),
        (["--hidden", "0"], "hidden is 0, wanted at least 1"),
        (["--cell", "qrnn"], "invalid choice 'qrnn'"),
    ],
)
def test_bad_commands_are_refused(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        code = main(["charlm", *NAME, *arguments])
    except SystemExit as stop:  # tyro's own way of refusing
        code = int(str(stop.code))
    assert code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not Path("artifacts").exists()


@pytest.mark.slow
def test_another_cell_is_another_run(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["charlm", *NAME]) == 0
    assert main(["charlm", *NAME, "--cell", "gru"]) == 1
    assert "use the same values to resume, another --name, or --restart" in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_that_names_no_cell_is_an_lstm(workspace: Path) -> None:
    assert main(["charlm", *NAME]) == 0
    path = checkpoint.directory("m")
    raw = json.loads((path / "checkpoint.json").read_text())
    del raw["model"]["cell"]
    (path / "checkpoint.json").write_text(json.dumps(raw))
    assert load_generator(path)[1].config.cell == "lstm"


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused(workspace: Path) -> None:
    assert main(["charlm", *NAME]) == 0
    path = checkpoint.directory("m")
    raw = json.loads((path / "checkpoint.json").read_text())
    raw["model"]["hidden"] = 16
    (path / "checkpoint.json").write_text(json.dumps(raw))
    with pytest.raises(checkpoint.CheckpointError, match="the weights do not fit the model config"):
        load_generator(path)
