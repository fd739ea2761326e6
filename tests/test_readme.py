"""The README is true: its tree is the disk, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def tree_entries() -> dict[str, str]:
    """Path -> comment, from the README's file tree (two spaces of indentation per level)."""
    block = README.split("```tree\n")[1].split("```")[0]
    entries: dict[str, str] = {}
    folders: list[str] = []
    for line in block.splitlines():
        match = re.fullmatch(r"( *)(\S+)\s{2,}(\S.*)", line)
        assert match, f"no comment, or odd indentation: {line!r}"
        depth, name, comment = len(match[1]) // 2, match[2], match[3]
        folders = folders[:depth]
        entries["".join(folders) + name] = comment
        if name.endswith("/"):
            folders.append(name)
    return entries


def tracked() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout: the list of files is unknown")
    return [path for path in listing.stdout.splitlines() if (ROOT / path).exists()]


def test_every_entry_of_the_tree_exists() -> None:
    entries = tree_entries()
    assert len(entries) > 40
    for entry in entries:
        assert (ROOT / entry).exists(), f"the README's tree names {entry}, which is not there"


def test_every_file_is_in_the_tree() -> None:
    entries = tree_entries()
    files = [path for path in tracked() if not path.endswith("__init__.py")]
    assert len(files) > 40
    for path in files:
        # A file stands for itself, or below a folder that the tree shows without its contents.
        folders = {path[: i + 1] for i, c in enumerate(path) if c == "/"}
        closed = {f for f in folders if f in entries and not any(e != f and e.startswith(f) for e in entries)}
        assert path in entries or closed, f"{path} is not in the README's tree"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make ([a-z]+)`", README)) | set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the README names `make {target}`"


@pytest.mark.parametrize(
    "command", sorted({(m[0], m[1]) for m in re.findall(r"python -m (training|export|serving) ([a-z0-9]+)", README)})
)
def test_commands_exist(command: tuple[str, str]) -> None:
    package, sub = command
    answer = subprocess.run(
        [sys.executable, "-m", package, sub, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "usage" in answer.stdout
