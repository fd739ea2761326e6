"""The archive is self-contained and checked; it runs without the checkout and without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from export.__main__ import main
from export.archive import archive, pack
from handlers.archive import JOB_QUEUE, read_archive
from handlers.identity import HOME, Identity, handlers_digest
from handlers.manifest import BundleError
from tests.conftest import Tiny


def test_the_archive_holds_handlers_and_bundle(tiny: Tiny) -> None:
    assert tiny.archive.name == f"tiny-{tiny.version}.mar"
    with zipfile.ZipFile(tiny.archive) as file:
        names = set(file.namelist())
        manifest = json.loads(file.read("MAR-INF/MANIFEST.json"))["model"]
        config = yaml.safe_load(file.read("model-config.yaml"))
    assert names >= {
        "torchserve_handler.py",
        "torch.py",
        "handlers/proxy/service.py",
        "handlers/engine/main.py",
        "handlers/generators/latent_image.py",
        "bundle/manifest.json",
        "bundle/certificate.json",
    }
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pt")]
    assert (manifest["modelName"], manifest["modelVersion"]) == ("tiny", tiny.version)
    assert manifest["handler"] == "torchserve_handler.py"
    assert config["asyncCommunication"] is True
    assert config["batchSize"] == 1  # every request is handed over at once
    assert "maxBatchDelay" not in config
    limits = tiny.bundle.manifest.limits
    assert config["jobQueueSize"] == JOB_QUEUE > 4 * (limits.max_slots + limits.max_queue)
    assert config["maxRetryTimeoutInSec"] > 20 * 24 * 3600  # a front end that gives a worker up never tries again
    assert config["maxRetryTimeoutInSec"] * 1000 < 2**31  # it counts milliseconds in an int
    assert (config["minWorkers"], config["maxWorkers"]) == (1, 1)
    assert read_archive(tiny.archive).identity == Identity(tiny.bundle.digest, handlers_digest())


PROGRAM = """
import asyncio, sys
import torch, torchserve_handler
from handlers.bundle import read
from handlers.proxy.service import Service
from handlers.proxy.wire import Call
from pathlib import Path

async def main():
    written, ended = [], asyncio.Event()
    def write(data):
        written.append(data)
        if b"false" in data: ended.set()
    service = Service(read(Path("bundle")), write)
    engine = asyncio.create_task(service.engine.run())
    headers = {"host": "localhost", "content-type": "application/json", "url_path": "", "explain": "False"}
    service.take(Call("one", headers, {"body": b'{"seed": 1}'}))
    await asyncio.wait_for(ended.wait(), 30)
    maps = Path(f"/proc/{service.engine.pid}/maps").read_text()
    engine.cancel()
    await asyncio.wait([engine])
    data = b"".join(written)
    print(b"image/png" in data, b"X-Atelier-Receipt" in data, data.count(b"\\x89PNG"))
    print("onnxruntime" in maps, "torch" in maps)

asyncio.run(main())
print(torch.__file__ == str(Path("torch.py").resolve()), {"numpy", "onnxruntime", "onnx"} & set(sys.modules))
"""


def test_it_answers_outside_the_checkout_without_torch(tiny: Tiny, tmp_path: Path) -> None:
    with zipfile.ZipFile(tiny.archive) as file:
        file.extractall(tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split("\n") == ["True True 1", "True False", "True set()", ""]


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
                data = data.replace(tiny.version.encode(), b"0" * 12)
            new.writestr(name, data)
    with pytest.raises(
        BundleError, match=f"says it is tiny 000000000000, its bundle and handlers are tiny {tiny.version}"
    ):
        read_archive(path)


def test_other_handlers_make_another_archive(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal bundles, a changed sampler: name, version and identity tell them apart."""
    home = tmp_path / "handlers"
    shutil.copytree(HOME, home, ignore=shutil.ignore_patterns("__pycache__"))
    philox = home / "sampling/philox.py"
    philox.write_text(philox.read_text() + "# changed\n")
    monkeypatch.chdir(tiny.folder)
    changed = archive("tiny", tmp_path / "store", home)
    assert changed.name != tiny.archive.name
    before, after = read_archive(tiny.archive), read_archive(changed)
    assert before.identity.bundle == after.identity.bundle
    assert before.identity.handlers != after.identity.handlers
    assert before.version != after.version


@pytest.mark.parametrize(
    "name", [".DS_Store", "proxy/.service.py.swp", "proxy/service.py~", "media/old.pyc", ".x/y.py"]
)
def test_what_an_editor_leaves_is_no_part_of_the_handlers(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Else an open editor would make every archive one of other handlers."""
    home = tmp_path / "handlers"
    shutil.copytree(HOME, home, ignore=shutil.ignore_patterns("__pycache__"))
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_bytes(b"\0")
    assert handlers_digest(home) == handlers_digest()
    monkeypatch.chdir(tiny.folder)
    path = archive("tiny", tmp_path / "store", home)
    assert path.name == tiny.archive.name
    with zipfile.ZipFile(path) as file:
        assert f"handlers/{name}" not in file.namelist()


def test_an_archive_with_changed_handlers_and_the_old_version_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "changed.mar"
    with zipfile.ZipFile(tiny.archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            more = b"# changed\n" if name == "handlers/sampling/philox.py" else b""
            new.writestr(name, old.read(name) + more)
    with pytest.raises(BundleError, match=f"says it is tiny {tiny.version}, its bundle and handlers are tiny "):
        read_archive(path)


def test_an_archive_with_another_entry_point_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "changed.mar"
    with zipfile.ZipFile(tiny.archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            more = b"# changed\n" if name == "torchserve_handler.py" else b""
            new.writestr(name, old.read(name) + more)
    with pytest.raises(BundleError, match=r"changed\.mar: torchserve_handler\.py is not the one of its handlers/proxy"):
        read_archive(path)


def test_handlers_that_change_while_they_are_packed_make_no_archive(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, store = tmp_path / "handlers", tmp_path / "store"
    shutil.copytree(HOME, home, ignore=shutil.ignore_patterns("__pycache__"))

    def meanwhile(work: Path, **settings: str) -> Path:
        philox = Path(settings["extra_files"]) / "handlers/sampling/philox.py"
        philox.write_text(philox.read_text() + "# changed\n")
        return pack(work, **settings)

    monkeypatch.setattr("export.archive.pack", meanwhile)
    monkeypatch.chdir(tiny.folder)
    with pytest.raises(BundleError, match=r"its bundle and handlers are tiny [0-9a-f]{12}: archive it again"):
        archive("tiny", store, home)
    assert list(store.iterdir()) == []
