"""The language model over bytes: one step equals a whole sequence, a resumed run the uninterrupted one, and it learns."""

from __future__ import annotations

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
from tests.training.saved import assert_equal, tensors
from training import checkpoint
from training.__main__ import main
from training.charlm import IGNORED, _inputs_and_targets, bits_per_byte, load_generator, row_spans, sample
from training.data.sentences import stream
from training.models.charlm import BOUNDARY, VOCABULARY, CharLM, ModelConfig, build

NAME = ["--name", "m", "--preset", "tiny"]
SMALL = ModelConfig(embedding=8, hidden=16, layers=2)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_steps_equal_the_whole_sequence(layers: int) -> None:
    network = build(ModelConfig(embedding=8, hidden=16, layers=layers), seed=1).eval()
    tokens = torch.randint(0, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(0))
    logits, (last_h, last_c) = network(tokens)
    assert logits.shape == (3, 20, VOCABULARY)
    h = c = torch.zeros(3, layers, 16)
    for t in range(20):
        scores, h, c = network.step(tokens[:, t], h, c)
        torch.testing.assert_close(scores, logits[:, t], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(h, last_h.transpose(0, 1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(c, last_c.transpose(0, 1), atol=1e-6, rtol=1e-5)


def test_a_sequence_can_be_read_in_two_parts() -> None:
    network = build(SMALL, seed=1).eval()
    tokens = torch.arange(2 * 12).reshape(2, 12)
    whole, _ = network(tokens)
    first, state = network(tokens[:, :5])
    second, _ = network(tokens[:, 5:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_weights_follow_the_seed_and_memories_are_of_many_lengths() -> None:
    before = torch.get_rng_state()
    first, second, other = (build(SMALL, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.embedding.weight, second.embedding.weight)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
    _, _, bias, _ = first.lstm.all_weights[1]
    write, keep, rest = bias[:16], bias[16:32], bias[32:]
    assert torch.equal(write, -keep)
    assert keep.min() >= 0
    assert 2 < keep.max() < 5
    assert not rest.any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embedding": 0}, "embedding is 0, wanted at least 1"),
        ({"hidden": 0}, "hidden is 0, wanted at least 1"),
        ({"layers": 0}, "layers is 0, wanted at least 1"),
        ({"dropout": 1.0}, r"dropout is 1\.0, wanted at least 0 and less than 1"),
    ],
)
def test_impossible_sizes_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)  # type: ignore[arg-type]


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
    inputs, targets = _inputs_and_targets([np.array([0, 7, 8, 0], np.uint8), np.array([0, 9, 0], np.uint8)])
    assert inputs.tolist() == [[0, 7, 8], [0, 9, 0]]
    assert targets.tolist() == [[7, 8, 0], [9, 0, IGNORED]]


def test_bits_per_byte_of_a_network_that_knows_nothing() -> None:
    network = build(SMALL, seed=0).eval()
    torch.nn.init.zeros_(network.output.weight)
    assert bits_per_byte(network, ["a", "längere Texte", "x" * 2000] * 30) == 8.0


def test_samples_follow_the_seed_and_stop_at_the_boundary() -> None:
    network = build(SMALL, seed=0).eval()
    assert sample(network, 3, 0.7, seed=1) == sample(network, 3, 0.7, seed=1) != sample(network, 3, 0.7, seed=2)
    torch.nn.init.zeros_(network.output.weight)
    with torch.no_grad():
        network.output.bias[[ord("a"), BOUNDARY]] = 50.0
    drawn = sample(network, 50, 1.0, seed=0)
    assert {character for text in drawn for character in text} == {"a"}
    assert len({len(text) for text in drawn}) > 3


def test_a_run_leaves_checkpoint_log_plot_and_texts(workspace: Path) -> None:
    assert main(["charlm", *NAME]) == 0
    meta, network = load_generator(checkpoint.directory("m"))
    assert (meta.step, meta.recipe, meta.model["hidden"]) == (6, "charlm", 32)
    assert meta.metrics.keys() == {"loss", "bits_per_byte", "valid", "bits_per_byte_train"}
    assert meta.data["name"] == "sentences-v1-64"
    assert isinstance(network, CharLM)
    assert not network.training
    lines = [json.loads(line) for line in Path("artifacts/runs/m/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "texts_per_s" in line] == [1, 2, 3, 4, 5, 6]
    assert len(Path("artifacts/runs/m/samples/step-0000006.txt").read_text("utf-8").split("\n\n")) >= 32
    assert Path("artifacts/runs/m/losses.png").stat().st_size > 1000


def test_a_resumed_run_equals_the_uninterrupted_one(workspace: Path) -> None:
    assert main(["charlm", *NAME, "--steps", "9"]) == 0  # with dropout
    whole = tensors()
    metrics = checkpoint.read(checkpoint.directory("m")).metrics
    assert main(["charlm", *NAME, "--restart", "--steps", "4"]) == 0
    torch.rand(1)  # nothing hangs on the global random state
    assert main(["charlm", *NAME, "--steps", "9"]) == 0
    assert_equal(whole, tensors())
    assert checkpoint.read(checkpoint.directory("m")).metrics == metrics


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


def test_it_learns(workspace: Path) -> None:
    small = ["--layers", "1", "--hidden", "64", "--dropout", "0", "--learning-rate", "0.02"]
    assert main(["charlm", *NAME, *small, "--steps", "200", "--sample-every", "1000"]) == 0
    metrics = checkpoint.read(checkpoint.directory("m")).metrics
    assert metrics["bits_per_byte"] < 3.5  # of 8; the frequencies of the bytes alone give more than 4


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


def test_weights_that_do_not_fit_are_refused(workspace: Path) -> None:
    assert main(["charlm", *NAME]) == 0
    path = checkpoint.directory("m")
    raw = json.loads((path / "checkpoint.json").read_text())
    raw["model"]["hidden"] = 16
    (path / "checkpoint.json").write_text(json.dumps(raw))
    with pytest.raises(checkpoint.CheckpointError, match="the weights do not fit the model config"):
        load_generator(path)
