"""An archive that is whole, and whose graph no runtime opens: it takes none of the others along."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from onnx import helper

from export.archive import archive
from handlers import bundle as bundles
from handlers.manifest import file_spec
from serving.client import request
from serving.state import read_state
from tests.conftest import ROOT, Tiny
from tests.serving.conftest import JSON, STOP_SECONDS, eventually, launcher

pytestmark = pytest.mark.server


def test_the_others_are_served(tiny: Tiny, tiny_text: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = helper.make_model(helper.make_graph([helper.make_node("NoSuch", ["a"], ["b"])], "g", [], []))
    spec = file_spec("files/graph.onnx", data.SerializeToString())
    manifest = tiny.bundle.manifest
    files = {key: spec if old.path.endswith(".onnx") else old for key, old in manifest.files.items()}
    contents = {spec.path: data.SerializeToString()}
    contents[manifest.certificate.path] = (tiny.bundle.directory / manifest.certificate.path).read_bytes()
    monkeypatch.chdir(tmp_path)
    bundles.write(bundles.directory("tiny"), dataclasses.replace(manifest, files=files), contents)
    archive("tiny", tmp_path / "store")
    shutil.copy(tiny_text.archive, tmp_path / "store")
    run, temporary = tmp_path / "run", tempfile.mkdtemp(prefix="at-", dir="/tmp")
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [*launcher(tmp_path / "store", run), "--stop-at-eof"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": temporary},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            eventually(lambda: "the others are served" in (tmp_path / "log").read_text(), 120, "it did not start")
            state = read_state(run)
            assert state is not None
            assert request(state["inference"], "POST", "/predictions/text", b"{}", JSON).status == 200
            answer = request(state["status"], "GET", "/ready")
            assert answer.status == 503
            assert b"tiny" in answer.body and b"no candidate can be served" in answer.body
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)
    shutil.rmtree(temporary)
    assert process.returncode == 0
