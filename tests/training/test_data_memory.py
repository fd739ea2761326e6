"""Files that cost little to make take little memory to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

COUNT = 8_000_000  # a list of as many empty lines alone is 64 MB
MOST = 60_000_000
PAIRS = "from training.data.pairs import open_pairs; read = lambda p: open_pairs(p, 0, Fields('document', 'summary'))"
TEXTS = "from training.data.texts import open_texts; read = lambda p: open_texts(p, 0)"
PROGRAM = """
import resource, sys
from training.data import DataError, Fields
{imports}
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
read(sys.argv[1])
print(1024 * (peak() - before))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imports", "name", "first", "last"),
    [
        (PAIRS, "my.csv", "document,summary\na,b\n", "c,d"),
        (PAIRS, "my.jsonl", '{"document": "a", "summary": "b"}\n', '{"document": "c", "summary": "d"}'),
        (PAIRS, "my.json", '[{"document": "a", "summary": "b"},\n', '{"document": "c", "summary": "d"}]'),
        (PAIRS, "my.txt", "Q: a\nA: b\n", "Q: c\nA: d"),
        (TEXTS, "my.txt", "one\n", "two"),
        (TEXTS, "my.csv", "text\none\n", "two"),
    ],
    ids=["table", "lines", "document", "questions", "texts", "column"],
)
@pytest.mark.parametrize("fill", ["\n", " \r\n"], ids=["empty", "blank"])
def test_line_breaks_take_little_memory(
    tmp_path: Path, imports: str, name: str, first: str, last: str, fill: str
) -> None:
    (tmp_path / name).write_bytes((first + fill * (COUNT // len(fill)) + last).encode())
    command = [sys.executable, "-c", PROGRAM.format(imports=imports), str(tmp_path / name)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) < MOST
