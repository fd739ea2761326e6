"""How many threads PyTorch computes with: no more than a container's quota of processor time pays for."""

from __future__ import annotations

import os

import torch

from handlers import cgroups


def heed_quota() -> None:
    """Lower PyTorch's threads, here and in processes started from here, to what can compute at once.

    Without a quota nothing is changed: PyTorch knows the cores itself.
    """
    if (threads := cgroups.threads()) < torch.get_num_threads():
        torch.set_num_threads(threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
