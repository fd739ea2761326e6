"""The arrow points one way: training -> export -> handlers <- serving <- gateway. Read off the import statements."""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAX_LINES, MEDIAN_LINES = 300, 110  # of source files
OURS = {"training", "export", "handlers", "serving", "gateway", "benchmarks"}
# What a package may import of ours; None: anything. A prefix with a dot allows that module alone.
ALLOWED: dict[str, set[str] | None] = {
    "training": {"handlers.cgroups"},  # what a container may use is read in one place
    "handlers": set(),
    "export": {"training", "handlers"},
    "serving": {
        "handlers.archive",
        "handlers.bundle",
        "handlers.cgroups",
        "handlers.files",
        "handlers.identity",
        "handlers.manifest",
        "handlers.media",  # `try` draws a picture of a sound; lazily, and never the launcher
        "handlers.metric_files",
        "handlers.ownership",
        "handlers.process_start",
    },
    "gateway": set(),
    "benchmarks": None,
}
# Third-party packages that handlers/ may import.
HANDLER_PACKAGES = {
    "numpy",
    "numba",
    "onnxruntime",
    "openvino",
    "PIL",
    "prometheus_client",
    "soundfile",
    "soxr",
    "tensorrt",
    "tensorrt_rtx",
    "tokenizers",
}
# The same for gateway/: what requirements/gateway.txt installs, and what comes with it. No numpy, no torch.
GATEWAY_PACKAGES = {
    "PIL",
    "a2wsgi",
    "ahocorasick",
    "aiohttp",
    "alembic",
    "c2pa",
    "argon2",
    "authlib",
    "flask",
    "joserfc",
    "obstore",
    "phonenumbers",
    "prometheus_client",
    "pydantic",
    "python_multipart",
    "cryptography",
    "sqlalchemy",
    "starlette",
    "stdnum",
    "structlog",
    "uvicorn",
    "opentelemetry",  # by gateway/traces.py, where it is configured
    "werkzeug",
    "yarl",
}
STANDARD = {"__future__"}
# The rooms of handlers/: which other rooms each may import (the top, which both processes share, everybody may), and
# which third-party packages.
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "proxy": (set(), set()),
    "engine": ({"generators", "runtimes"}, set()),
    "generators": ({"runtimes", "sampling", "text", "audio", "media"}, {"numpy"}),
    "runtimes": ({"sampling"}, {"numpy", "numba", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"}),
    "sampling": (set(), {"numpy"}),
    "text": ({"sampling", "media"}, {"numpy", "tokenizers"}),
    "audio": ({"sampling", "media"}, {"numpy"}),
    "media": (set(), {"numpy", "PIL", "soundfile", "soxr"}),
}


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, whether the import stands at module level and outside TYPE_CHECKING) of every import in a file."""
    tree = ast.parse(path.read_text())
    lazy = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node not in lazy) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports from the root"
            module = node.module or ""
            found += [(f"{module}.{alias.name}", node not in lazy) for alias in node.names]
    return found


def present() -> list[str]:
    return [name for name in sorted(OURS) if (ROOT / name).is_dir()]


def test_the_packages_of_this_stage_exist() -> None:
    assert {"training", "export", "handlers", "serving", "gateway"} <= set(present())


@pytest.mark.parametrize("package", present())
def test_imports_of_our_packages(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package}/ holds no Python file"
    allowed = ALLOWED[package]
    for path in files:
        for module, _ in imports(path):
            top = module.partition(".")[0]
            if top in OURS and top != package and allowed is not None:
                fits = any(module == name or module.startswith(f"{name}.") for name in allowed)
                assert fits, (
                    f"{path.relative_to(ROOT)} imports {module}; {package} may import {sorted(allowed)} of ours"
                )


def test_handlers_import_no_torch_and_backends_only_lazily() -> None:
    seen = 0
    for path in sorted((ROOT / "handlers").rglob("*.py")):
        for module, at_import in imports(path):
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or top in STANDARD or top == "handlers":
                continue
            seen += 1
            assert top in HANDLER_PACKAGES, f"{path.name} imports {module}"
            if top in {"onnxruntime", "openvino", "tokenizers"}:
                assert not at_import, (
                    f"{path.name} imports {module} at module level: do it in the function that needs it"
                )
    assert seen > 5


def test_the_gateway_imports_what_it_may() -> None:
    found = {module.partition(".")[0] for path in (ROOT / "gateway").rglob("*.py") for module, _ in imports(path)} - {
        *sys.stdlib_module_names,
        *STANDARD,
        "gateway",
    }
    assert found <= GATEWAY_PACKAGES, f"gateway/ may import {sorted(GATEWAY_PACKAGES)}"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_of_handlers_import_what_they_may(room: str) -> None:
    """Which process a file runs in, and what it may hold on to, follows from its folder."""
    ours, theirs = ROOMS[room]
    files = sorted((ROOT / "handlers" / room).glob("*.py"))
    assert len(files) > 1, f"handlers/{room} holds no file"
    for path in files:
        for module, _ in imports(path):
            top, _, rest = module.partition(".")
            if top == "handlers":
                first = rest.partition(".")[0]
                assert first not in ROOMS or first == room or first in ours, (
                    f"{path.relative_to(ROOT)} imports {module}; handlers/{room} may import {sorted(ours)} and the top"
                )
            elif top not in sys.stdlib_module_names and top not in STANDARD:
                assert top in theirs, (
                    f"{path.relative_to(ROOT)} imports {module}; handlers/{room} may: {sorted(theirs)}"
                )


def test_every_room_of_handlers_has_a_rule() -> None:
    folders = {path.name for path in (ROOT / "handlers").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


def test_what_both_processes_share_is_thin() -> None:
    """The top of handlers/ imports no room, no numpy and no runtime: the proxy imports all of it."""
    files = sorted((ROOT / "handlers").glob("*.py"))
    assert len(files) > 5
    for path in files:
        for module, _ in imports(path):
            top, _, rest = module.partition(".")
            known = top in sys.stdlib_module_names or top in STANDARD or top in {"handlers", "prometheus_client"}
            assert known, f"{path.relative_to(ROOT)} imports {module}"
            assert top != "handlers" or rest.partition(".")[0] not in ROOMS, (
                f"{path.relative_to(ROOT)} imports {module}: what both processes share imports no room"
            )


def test_file_sizes_stay_in_budget() -> None:
    """Source files but for the `__init__` of packages: none over 300 lines, half of them at most 110."""
    files = [path for package in present() for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    assert len(files) > 20
    lines = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in files}
    over = {str(path): count for path, count in lines.items() if count > MAX_LINES}
    assert not over, f"the budget of a file is {MAX_LINES} lines; these have more: {over}"
    middle = statistics.median(lines.values())
    assert middle <= MEDIAN_LINES, f"the median of {len(lines)} files is {middle:g} lines, the budget {MEDIAN_LINES}"


def test_no_pickles() -> None:
    for package in present():
        for path in (ROOT / package).rglob("*.py"):
            for module, _ in imports(path):
                assert module.partition(".")[0] not in {"pickle", "dill", "joblib", "cloudpickle"}, path
            text = path.read_text()
            assert "torch.load(" not in text, path
            assert "allow_pickle=True" not in text, path
