"""What the documents hold, for the tests that compare it with the code: commands, requests, tables, names of files."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.conftest import ROOT

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def text_of(path: Path) -> str:
    """A document with commands that are continued by a backslash on one line."""
    return path.read_text().replace("\\\n", " ")


def commands(text: str) -> list[list[str]]:
    """Every `python -m PACKAGE ...` of a document: the package and its arguments.

    Comments are left out, but for options that one shows: "# or: --data photos.zip".
    """
    lines = [line for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for line in lines:
        if match := re.match(r"(?:\S*/)?python -m (\S.*)", line):
            found.append(shlex.split(match[1], comments=True))
            if others := line.partition("# or: ")[2]:
                found.append(found[-1] + shlex.split(others))
    return found


def targets(text: str) -> list[list[str]]:
    """Every `make ...` of a document: targets and variables."""
    lines = re.findall(r"^(make [^\n]+)", text, re.MULTILINE) + re.findall(r"`(make [^`]+)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def bodies(text: str) -> list[tuple[str, str]]:
    """(name of a model, JSON of its parameters) of every request that a document shows.

    Of a request to the gateway's `/v1` that is the body without `model`, and without what says nothing: a prompt of no
    words, which only a model without prompts gets.
    """
    text = text.replace("\\\n", " ")
    asked = re.finditer(r"^curl .*-d '([^']+)'.*/v1/(?:images|completions|chat)", text, re.MULTILINE)
    sent = [json.loads(m[1]) for m in asked]
    curl = [(body.pop("model"), json.dumps({k: v for k, v in body.items() if v != ""})) for body in sent]
    tried = [(m[1], m[2]) for m in re.finditer(r"-m serving try (\S+) --params '([^']+)'", text)]
    return curl + tried


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, cells without the spaces around them, its head left out."""
    below = text.split(f"\n{heading}\n", 1)[1]
    found = re.search(r"^\|[^\n]*\|\n\|[-|]+\|\n((?:\|[^\n]*\|\n)+)", below, re.MULTILINE)
    assert found, f"no table below {heading}"
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in found[1].splitlines()]
