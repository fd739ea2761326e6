"""The archive is self-contained and checked; it runs without the checkout and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from export.__main__ import main
from handlers import bundle as bundles
from handlers.bundle import BundleError
from tests.conftest import Tiny


def test_the_archive_holds_handlers_and_bundle(tiny: Tiny) -> None:
    assert tiny.archive.name == f"tiny-{tiny.bundle.version}.mar"
    with zipfile.ZipFile(tiny.archive) as file:
        names = set(file.namelist())
        manifest = json.loads(file.read("MAR-INF/MANIFEST.json"))["model"]
        config = yaml.safe_load(file.read("model-config.yaml"))
    assert names >= {
        "image_handler.py",
        "torch.py",
        "handlers/service.py",
        "bundle/manifest.json",
        "bundle/certificate.json",
    }
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pt")]
    assert (manifest["modelName"], manifest["modelVersion"]) == ("tiny", tiny.bundle.version)
    assert manifest["handler"] == "image_handler.py"
    assert config["batchSize"] == 32
    assert config["maxBatchDelay"] == 1  # 0 would mean 100
    assert bundles.read_archive(tiny.archive).digest == tiny.bundle.digest


def test_it_answers_outside_the_checkout_without_torch(tiny: Tiny, tmp_path: Path) -> None:
    with zipfile.ZipFile(tiny.archive) as file:
        file.extractall(tmp_path)
    program = """
import sys
import image_handler, torch
class Context:
    system_properties = {"model_dir": "."}
    manifest = {"model": {"modelVersion": sys.argv[1]}}
    def get_all_request_header(self, i): return {"Content-Type": "application/json"}
    def set_response_content_type(self, i, t): print(t)
    def set_response_status(self, code, phrase, i): print(code)
    def set_response_header(self, i, key, value): print(key)
image_handler.handle(None, Context())
print(image_handler.handle([{"body": b'{"seed": 1}'}], Context())[0][:4])
print(len(dir(torch)) < 20, "onnx" in sys.modules)
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-c", program, tiny.bundle.version],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split("\n")[:5] == ["image/png", "200", "X-Atelier-Receipt", r"b'\x89PNG'", "True False"]


def test_an_older_archive_of_the_same_name_goes(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Path("model_store")
    for name in (f"tiny-{'0' * 12}.mar", f"tiny-two-{'0' * 12}.mar", "tiny-notes.mar"):
        (store / name).write_bytes(b"")
    assert main(["archive", "tiny"]) == 0
    assert "opened again and checked" in capsys.readouterr().out
    left = {path.name for path in store.iterdir()}
    assert f"tiny-{'0' * 12}.mar" not in left
    assert {f"tiny-two-{'0' * 12}.mar", "tiny-notes.mar"} < left
    assert len(left) == 3


def test_a_missing_bundle_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["archive", "absent"]) == 1
    assert "python -m export build absent" in capsys.readouterr().err
    assert not list(workspace.rglob("*.mar"))


def test_an_archive_of_another_version_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "other.mar"
    with zipfile.ZipFile(tiny.archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "MAR-INF/MANIFEST.json":
                data = data.replace(tiny.bundle.version.encode(), b"0" * 12)
            new.writestr(name, data)
    with pytest.raises(BundleError, match=f"says it is tiny 000000000000, its bundle is tiny {tiny.bundle.version}"):
        bundles.read_archive(path)
