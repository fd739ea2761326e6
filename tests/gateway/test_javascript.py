"""The official JavaScript client: every endpoint, streams, errors; and the examples of docs/gateway.md as they are."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.params import ParamSpec
from tests.conftest import ROOT
from tests.gateway.media import Media, media, picture
from tests.support.fake_documents import SEED, SOUND_TYPES, document, documents
from tests.support.fake_replies import Reply

pytestmark = pytest.mark.node

HERE = ROOT / "tests/javascript"
EXAMPLES = re.findall(r"```javascript\n(.*?)```", (ROOT / "docs/gateway.md").read_text(), re.DOTALL)
NAMES = {"faces": "drawn", "poems": "told", "NAME": "altered"}  # in the documents, and what they are of here
PREAMBLE = (
    'import OpenAI from "openai";\nconst client = new OpenAI({ baseURL: "http://127.0.0.1:8080/v1", apiKey: "x" });\n'
)
TUNE = (ParamSpec("seconds", "number", "how long", 8, 1, 60), SEED)


@pytest.fixture(scope="session")
def packages() -> Path:
    """A folder with the client of package-lock.json in it, which stays for the next run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    pinned = [HERE / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in pinned)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"atelier-node-{os.getuid()}-{digest}"
    if not (folder / "node_modules/openai/package.json").exists():
        made = Path(tempfile.mkdtemp(prefix="atelier-node-"))
        for path in pinned:
            shutil.copy(path, made)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        installed = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=240, check=False)
        if installed.returncode:
            shutil.rmtree(made)
            if re.search(r"ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN", installed.stderr):
                pytest.skip("the registry of npm cannot be reached")
            pytest.fail(installed.stderr)
        try:
            made.rename(folder)
        except OSError:  # another was faster
            shutil.rmtree(made)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    named = [documents()[of] | {"name": name} for name, of in NAMES.items() if name != "NAME"]
    tunes = document("tunes", "windowed_audio", TUNE, SOUND_TYPES, {"seconds": 8})
    broken = documents()["chat"] | {"name": "broken"}
    folder = tmp_path_factory.mktemp("js")
    with media(folder, *named, tunes, broken, voices={"alloy": {}}, aliases={"NAME": "altered"}) as made:
        piece = json.dumps({"choices": [{"index": 0, "delta": {"content": "It "}, "finish_reason": None}]})
        pieces = [f"data: {piece}\n\n".encode(), b""]
        made.fake.models["broken"].reply = lambda _asked: Reply(pieces, "text/event-stream", breaks=True)
        yield made


def ran(packages: Path, folder: Path, program: Path, *arguments: str) -> str:
    """What a program prints, which must succeed. Modules are found beside it."""
    (folder / "node_modules").symlink_to(packages / "node_modules")
    script = folder / program.name
    if program != script:
        shutil.copy(program, script)
    command = ["node", str(script), *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_endpoint_streams_and_errors(packages: Path, served: Media, tmp_path: Path) -> None:
    said = ran(packages, tmp_path, HERE / "client.mjs", served.gateway.url)
    assert json.loads(said) == [
        "models",
        "images",
        "completions",
        "chat",
        "responses",
        "speech",
        "a stream that breaks",
        "a caller who leaves",
    ]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run_as_they_are(packages: Path, served: Media, tmp_path: Path, number: int) -> None:
    before, text = len(served.fake.asked), EXAMPLES[number]
    if "new OpenAI" not in text:
        text = PREAMBLE + text
    script = tmp_path / "example.mjs"
    script.write_text(text.replace("http://127.0.0.1:8080", served.gateway.url))
    (tmp_path / "photo.png").write_bytes(picture().read())
    ran(packages, tmp_path, script)
    assert len(served.fake.asked) > before, "it asked no model"


def test_every_part_of_the_documents_has_an_example() -> None:
    assert len(EXAMPLES) >= 9
    for route in ("images.generate", "images.edit", "completions.create", "chat.completions", "responses.create"):
        assert any(route in text for text in EXAMPLES), route
    for route in ("audio.speech", "/api/generate/", "/api/jobs/", "/v2/models/"):
        assert any(route in text for text in EXAMPLES), route
