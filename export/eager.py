"""PyTorch eager in a process of its own: what a person would run without any of this, timed beside the candidates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from export.measure import Run, each_role, served

NAME = "PyTorch eager"


def eager_opener(checkpoint: Path, threads: int) -> Callable[[], Run]:
    """A picklable function that opens a checkpoint in the child and returns the run of a whole request."""
    return functools.partial(_open_eager, checkpoint.resolve(), threads)


def _open_eager(path: Path, threads: int) -> Run:
    import torch  # in the child: whoever makes the opener may do without

    from export import graphs
    from training import checkpoint, recipes

    torch.set_num_threads(threads)
    recipe = recipes.find(checkpoint.read(path).recipe)
    kind = graphs.load(recipe.kind, recipe.load().load_generator(path)[1])
    return each_role({role: served(graph.torch_session()) for role, graph in kind.graphs.items()}, kind.calls)
