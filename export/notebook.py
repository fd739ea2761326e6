"""Results on disk under artifacts/builds/NAME, so that an interrupted build goes on at the missing candidate."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from export.environment import versions
from export.options import Options
from handlers.files import write_file
from handlers.identity import handlers_digest

NOTES = Path("artifacts/builds")
CODE = ("export", "handlers", "training")  # the packages that decide the results


class Notebook:
    """JSON values and files by name, in one folder for one set of inputs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recall(self, name: str) -> Any:
        """The value noted under `name`, or None."""
        try:
            return json.loads((self._folder / f"{name}.json").read_text())
        except (OSError, ValueError):  # not there, or cut short: it is found out again
            return None

    def note(self, name: str, value: Any) -> None:
        """Note a JSON value."""
        write_file(self._folder / f"{name}.json", json.dumps(value).encode())

    def recall_file(self, name: str) -> bytes | None:
        """The bytes of the file kept as `name`, or None."""
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def note_file(self, name: str, data: bytes) -> None:
        """Keep a file."""
        write_file(self._folder / name, data)

    def recalled(self, name: str, make: Callable[[], Any]) -> Any:
        """The value noted under `name`, or one that is made and noted now."""
        if (value := self.recall(name)) is None:
            value = make()
            self.note(name, value)
        return value


def open_notebook(name: str, source: Mapping[str, str], options: Options, scored_in: str) -> Notebook:
    """The notebook of a build or a new measurement of the model `name`; notes of other inputs are removed.

    `source` names what is judged by its digests (files of a checkpoint, a bundle), `scored_in` the runtime that
    calibration is chosen in. Another library version, and other code of ours, begin a new one too.
    """
    inputs = [dict(source), options.quick, options.calibration, scored_in, versions(), _code_digests()]
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    folder = NOTES / name
    if folder.exists():
        for old in folder.iterdir():
            if old.name != key:
                shutil.rmtree(old)
    return Notebook(folder / key)


def discard_notes(name: str) -> None:
    """Remove all notes of the model `name`: its bundle is written."""
    shutil.rmtree(NOTES / name, ignore_errors=True)


@functools.cache
def _code_digests() -> list[str]:
    root = Path(__file__).parent.parent
    return [handlers_digest(root / package) for package in CODE]
