"""A runtime is a file here with one value of `Runtime`, and a row in registry.py. Everybody else asks the value."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision

Arrays = dict[str, NDArray[Any]]
NOT_INSTALLED = "not-installed"


class SessionError(ValueError):
    """An array that does not fit the graph, or a runtime that is not there."""


class OpenGraph(Protocol):
    """A graph that a runtime has loaded."""

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs by name; arrays nobody else holds."""
        ...

    def close(self) -> None:
        """Give back what the runtime holds for it."""
        ...


@dataclasses.dataclass(frozen=True)
class FunctionGraph:
    """A plain function as an open graph: nothing is held that could be given back."""

    compute: Callable[[Arrays], Arrays]

    def run(self, inputs: Arrays) -> Arrays:
        """What the function gives."""
        return self.compute(inputs)

    def close(self) -> None:
        """Nothing to do."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """One way to compute a graph.

    `opener` is called with the file's bytes, the graph's inputs and outputs, the number of CPU threads and the
    precision; it may raise anything, and `SessionError` for what it can explain.
    """

    name: str  # as manifests and certificates have it
    modules: tuple[str, ...]  # any of these can be imported where it is installed
    packages: tuple[str, ...]  # the distributions it comes in; the version is that of the first that is installed
    device: Literal["cpu", "gpu"]
    variants: tuple[str, ...]  # the forms of a graph that it takes (export/variants.py)
    opener: Callable[[bytes, GraphSpec, int, Precision], OpenGraph]
    kinds: tuple[str, ...] | None = None  # of generators whose graphs it takes; None: any
    precisions: tuple[Precision, ...] = ("f32",)  # what it may compute unquantized parts in, the usual one first
    ahead_of_time: bool = False  # its files are built for one GPU capability and one version of its library
    calibrates: bool = False  # quantization tries its calibrations in it where it can: it is fast there
    requirements: str = "requirements/serve.txt"  # installs it
    title: str = ""  # as people write it, where that is not its name

    def module(self) -> str | None:
        """The first of its modules that can be imported here."""
        return next((name for name in self.modules if importlib.util.find_spec(name) is not None), None)

    def version(self) -> str:
        """The version that is installed, `NOT_INSTALLED` without one."""
        return package_version(*self.packages)

    def requires(self) -> dict[str, str]:
        """The entry `requires` of its candidates: the module, and the version of a library that built its files."""
        module = self.module() or self.modules[0]
        return {"module": module, "version": self.version()} if self.ahead_of_time else {"module": module}

    @property
    def installed(self) -> bool:
        """Whether it can be opened here, as far as packages go."""
        return self.module() is not None and self.version() != NOT_INSTALLED


def package_version(*packages: str) -> str:
    """Version of the first of some distributions that is installed, `NOT_INSTALLED` without one."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return NOT_INSTALLED


def first_line(error: Exception) -> str:
    """The first line that says something of a runtime's error, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
