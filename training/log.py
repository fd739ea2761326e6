"""The log of a run: artifacts/runs/NAME/log.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from training import files


class Log:
    """One JSON line per logged step. Opening it at `step` drops later lines, which a resumed run writes again."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "log.jsonl"
        kept = [line for line in self.read() if line["step"] <= step]
        files.write(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = self.path.open("ab", buffering=0)  # nothing waits in a buffer that a full disk would not take

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; it is on its way to disk when this returns. Raises `OSError` that names the file."""
        line = (json.dumps({"step": step, **values}) + "\n").encode()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise files.failed(self.path, error) from error

    def read(self) -> list[dict[str, float]]:
        """All whole lines so far; a line cut short by a kill is left out."""
        if not self.path.exists():
            return []
        lines: list[dict[str, float]] = []
        for text in self.path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines

    def close(self) -> None:
        """Close the file."""
        self._file.close()
