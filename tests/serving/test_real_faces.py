"""Real photographs all the way: a few training steps, export, archive, serve, decode."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.archive import archive
from export.build import build
from export.options import Options
from tests.conftest import SHARED
from tests.serving.conftest import running
from training import checkpoint
from training.__main__ import main as train

pytestmark = pytest.mark.server
FACES = SHARED / "faces" / "faces_128.zip"


@pytest.mark.skipif(not FACES.exists(), reason="the photographs of shared/data/faces/faces_128.zip are not here")
def test_photographs_are_trained_on_and_served(workspace: Path) -> None:
    command = ["dcgan", "--name", "photos", "--preset", "tiny", "--image-size", "32", "--data", os.fspath(FACES)]
    assert train([*command, "--steps", "10"]) == 0
    meta = checkpoint.read(checkpoint.directory("photos"))
    assert meta.data["name"] == "faces_128.zip-32px-699"
    build("photos", Options(variants=("fp32",), quick=True), say=lambda _: None)
    archive("photos")
    with running((workspace / "model_store").resolve(), workspace / "run") as server:
        answer = server.post({"seed": 1, "n": 4, "grid": True}, model="photos")
        assert answer.status == 200
        with Image.open(io.BytesIO(answer.body)) as sheet:
            assert sheet.size == (518, 518)
            colours = np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)
            assert len(colours) > 5  # after ten steps it is grey, but a picture
