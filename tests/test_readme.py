"""The README is true: it is short, its tree is the disk, its commands and requests are taken by what they address."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.conftest import ROOT
from tests.support.documents import bodies

README = (ROOT / "README.md").read_text()
MAX_LINES = 150


def tree() -> dict[str, str]:
    """Folder -> what it is for, from the README's tree."""
    block = README.split("```tree\n")[1].split("```")[0]
    entries: dict[str, str] = {}
    for line in block.splitlines():
        match = re.fullmatch(r"(\S+/) {2,}(\S.*)", line)
        assert match, f"not a folder and what it is for: {line!r}"
        assert match[1] not in entries, f"{match[1]} is named twice"
        entries[match[1]] = match[2]
    return entries


def tracked_folders() -> set[str]:
    """Every folder that holds a tracked file, or one that git would take; those below tests/ go by its name."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout: the list of files is unknown")
    files = [path for path in listing.stdout.splitlines() if (ROOT / path).exists()]
    folders = {path.rpartition("/")[0] + "/" for path in files if "/" in path}
    return {"tests/" if folder.startswith("tests/") else folder for folder in folders}


def test_it_stays_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_the_tree_names_every_folder_and_no_other() -> None:
    named, there = set(tree()), tracked_folders()
    assert len(there) > 20
    assert named == there, f"not in the tree: {sorted(there - named)}; not on the disk: {sorted(named - there)}"


def test_it_shows_a_picture_that_is_there() -> None:
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert (ROOT / picture).is_file()


def test_the_requests_it_shows_fit_the_schemas() -> None:
    """Every JSON body is one that a model of its name takes; tests/gateway/test_readme_calls.py asks a real server."""
    shown = bodies(README)
    assert {name for name, _ in shown} == {"faces", "poems"}
    assert len(shown) >= 3
    for name, body in shown:
        assert json.loads(body), (name, body)
