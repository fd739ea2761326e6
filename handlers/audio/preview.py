"""What a generator of sounds gives as its preview, for reports to show."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Sounds:
    """Sounds (T,) in [-1, 1] of some seeds, in their order."""

    waves: tuple[NDArray[np.float32], ...]
    rate: int  # Hz
