"""A disk that is full: one line that names the file, and everything that was written before is whole."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.saved import assert_equal, tensors
from tests.training.test_run import ENVIRONMENT, NAME
from training import files
from training.__main__ import main
from training.log import Log

FULL = Path("/dev/full")  # every write to it is the kernel's own "No space left on device"


def test_a_log_on_a_full_disk_is_named(tmp_path: Path) -> None:
    if not FULL.exists():
        pytest.skip("no /dev/full here")
    log = Log(tmp_path, 0)
    log.write(1, {"loss": 1.0})
    log.close()
    log._file = FULL.open("ab", buffering=0)
    with pytest.raises(OSError, match=r"could not write .*/log\.jsonl \(No space left on device\): free some space"):
        log.write(2, {"loss": 1.0})
    log.close()  # nothing waits in a buffer that could fail here
    assert [line["step"] for line in log.read()] == [1]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file, and no folder")
    with pytest.raises(OSError, match=r"could not write .*/blocked/a\.txt \(.*\): make that place writable and"):
        files.write(tmp_path / "blocked/a.txt", b"x")


def test_a_share_of_the_disk_that_is_used_up_has_the_same_remedy() -> None:
    error = files.failed(Path("a/b.png"), OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert error.errno == errno.EDQUOT
    told = "could not write a/b.png (Disk quota exceeded): free some space and run the same command again"
    assert error.strerror == told


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "file"), [(250, "log.jsonl"), (5_000, "samples/step-0000009.png")])
def test_a_full_disk_costs_what_is_not_yet_saved(workspace: Path, limit: int, file: str) -> None:
    """A real write error from the kernel: the process may not write files over some bytes."""
    assert main(["dcgan", *NAME]) == 0
    before = tensors()
    lines = Path("artifacts/runs/m/log.jsonl").read_text().splitlines()
    Path("artifacts/runs/m/log.jsonl").write_text("\n".join(lines[-1:]) + "\n")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "training", "dcgan", *NAME, "--steps", "12"]
    answer = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=limited, check=False)
    assert answer.returncode == 1, answer.stderr
    assert f"could not write artifacts/runs/m/{file} (File too large): free some space and run the same command" in (
        answer.stderr
    )
    assert "Traceback" not in answer.stderr
    assert_equal(before, tensors())
    whole = [line for line in Path("artifacts/runs/m/log.jsonl").read_text().splitlines() if line.endswith("}")]
    assert json.loads(whole[-1])["step"] >= 6
    assert main(["dcgan", *NAME, "--steps", "12"]) == 0
