"""Continuous integration runs every stage, installs what is missing, and hides no failure."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAMS = ("chromium", "mariadbd", "mariadb-install-db", "node", "npm")
STAGES = ["make setup", "make lint", "make test"]
INSTALL = "apt-get -q install --yes --no-install-recommends"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A copy of the script, and a folder of programs; those that matter only write down how they were called."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "sort", "xargs", "sh", "cat", "echo", "chmod"):
        (programs / name).symlink_to(shutil.which(name) or name)
    script(programs / "id", "echo 0")
    script(programs / "make", 'echo "make $*" >> called; if [ "$1" = "$FAILING" ]; then exit 3; fi')
    return tmp_path


def installs(machine: Path, *programs: str) -> None:
    """An apt-get that makes these programs."""
    made = "; ".join(f"echo '#!/bin/sh' > {machine}/bin/{name}; chmod 755 {machine}/bin/{name}" for name in programs)
    script(machine / "bin/apt-get", f'echo "apt-get $*" >> called; if [ "$2" = install ]; then {made or ":"}; fi')


def run(machine: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    bash = shutil.which("bash") or "bash"
    ended = subprocess.run(
        [bash, str(machine / ".ci/run")],
        env={"PATH": str(machine / "bin"), "FAILING": "", **environment},
        cwd=machine,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended, (machine / "called").read_text().splitlines()


def test_on_a_new_machine_it_installs_what_is_missing(machine: Path) -> None:
    script(machine / "bin/npm", "")
    installs(machine, *PROGRAMS)
    ended, called = run(machine)
    assert ended.returncode == 0, ended.stderr
    packages = "chromium mariadb-server-core nodejs"
    assert called == [*STAGES, "apt-get -q update", f"{INSTALL} {packages}", "make test-all"]
    assert "All passed:" in ended.stdout


def test_where_everything_is_there_it_installs_nothing(machine: Path) -> None:
    installs(machine)
    for name in PROGRAMS:
        script(machine / "bin" / name, "")
    ended, called = run(machine)
    assert (ended.returncode, called) == (0, [*STAGES, "make test-all"]), ended.stderr


@pytest.mark.parametrize("failing", ["setup", "lint", "test", "test-all"])
def test_a_stage_that_fails_fails_it_and_ends_it(machine: Path, failing: str) -> None:
    installs(machine)
    for name in PROGRAMS:
        script(machine / "bin" / name, "")
    ended, called = run(machine, FAILING=failing)
    assert ended.returncode == 3
    assert called[-1] == f"make {failing}"
    assert "All passed" not in ended.stdout


def test_what_cannot_be_installed_is_an_error_that_names_it(machine: Path) -> None:
    for name in set(PROGRAMS) - {"npm"}:
        script(machine / "bin" / name, "")
    ended, called = run(machine)
    assert (ended.returncode, called) == (1, STAGES)
    assert "error: the tests need npm (Debian's names), which are not here; install them" in ended.stderr
    installs(machine)
    ended, called = run(machine)
    assert ended.returncode == 1
    assert "make test-all" not in called
    assert "error: npm were installed and their programs are still not on PATH" in ended.stderr


def test_who_is_not_root_installs_by_sudo_or_is_told(machine: Path) -> None:
    script(machine / "bin/id", "echo 1000")
    for name in set(PROGRAMS) - {"npm"}:
        script(machine / "bin" / name, "")
    installs(machine, "npm")
    ended, called = run(machine)
    assert (ended.returncode, called) == (1, STAGES)
    assert "error: the tests need npm" in ended.stderr
    script(machine / "bin/sudo", 'echo "sudo $*" >> called; exec "$@"')
    ended, called = run(machine)
    assert ended.returncode == 0, ended.stderr
    assert f"sudo {INSTALL} npm" in called


def test_the_stages_are_targets_of_the_makefile() -> None:
    targets = (ROOT / "Makefile").read_text()
    for stage in (*STAGES, "make test-all"):
        assert f"\n{stage.split()[1]}: " in targets
    assert os.access(ROOT / ".ci/run", os.X_OK)
