"""PyTorch computes with as many threads as a quota of processor time pays for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from handlers import cgroups
from training.threads import heed_quota


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    yield
    os.environ.pop("OMP_NUM_THREADS", None)
    torch.set_num_threads(before)


@pytest.mark.parametrize(("paid", "wanted", "told"), [(1, 1, "1"), (2, 2, None), (8, 2, None)])
def test_threads_are_lowered_and_never_raised(
    paid: int, wanted: int, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "threads", lambda: paid)
    heed_quota()
    assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == (wanted, told)
