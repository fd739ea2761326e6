"""The fuzzer of OpenAPI documents, schemathesis, before a gateway that is a process of its own and wants keys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.gateway.conftest import eventually
from tests.gateway.plain_process import process
from tests.support.accounts import store_at
from tests.support.fake_upstream import FakeUpstream

CONFIG = ROOT / "tests/gateway/schemathesis.toml"

FIRST = r"^/api/(jobs|history)/[{]id[}]"


def asked(url: str, key: str, document: Any) -> Any:
    """The JSON that a POST is answered with."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


@contextmanager
def before(fake: FakeUpstream, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """A gateway's address, a key for everything, and a configuration with ids that are there."""
    key, _ = store_at(folder / "gateway.db").create("fuzzer", [])
    settings = {"upstream": fake.address, "models": list(fake.models), "spool": str(folder / "spool")}
    with process(folder, port=0, keys="required", log_level="error", **settings) as gateway:
        url = f"http://127.0.0.1:{gateway.port}"
        drawn = {"model": "drawn", "prompt": "", "response_format": "url"}
        link = asked(f"{url}/v1/images/generations", key, drawn)["data"][0]["url"]
        job = asked(f"{url}/api/jobs/drawn", key, {})["id"]
        made = _kept(url, key)
        config = folder / "schemathesis.toml"
        text = CONFIG.read_text().replace("RESULT", link.rpartition("/")[2])
        config.write_text(text.replace("JOB", job).replace("MADE", made))
        yield url, key, config
        assert gateway.process.poll() is None, "the gateway ended"


def _kept(url: str, key: str) -> str:
    """The id of a generation in the history, once it is written."""
    request = urllib.request.Request(f"{url}/api/history", headers={"Authorization": f"Bearer {key}"})

    def found() -> Any:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())["data"]

    eventually(lambda: bool(found()), 30, "the history stays empty")
    made: str = found()[0]["id"]
    return made


def fuzzed(url: str, key: str, config: Path, examples: int) -> tuple[int, str]:
    """How many requests were made, and all that the fuzzer says; it ends the test where one was answered wrongly.

    What others delete comes first: a job, since those of a caller who has many are forgotten, and the history.
    """
    found = [_run(url, key, config, examples, f"--{which}-path-regex") for which in ("include", "exclude")]
    return sum(cases for cases, _ in found), "".join(said for _, said in found)


def _run(url: str, key: str, config: Path, examples: int, which: str) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run"]
    command += [f"{url}/openapi.json", "--header", f"Authorization: Bearer {key}", "--max-examples", str(examples)]
    command += ["--checks", "all", "--continue-on-failure", "--no-color", "--suppress-health-check", "all"]
    command += [which, FIRST]
    ended = subprocess.run(command, cwd=config.parent, capture_output=True, text=True, timeout=1500, check=False)
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr
    found = re.search(r"(\d+) generated", ended.stdout)
    assert found is not None, ended.stdout
    return int(found[1]), ended.stdout
