"""Vectors as values, where an array alone does not say what it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Weighted terms: everything that is not named weighs nothing."""

    indexes: NDArray[np.uint32]
    """The terms, ascending, each once; shape ``(terms,)``. Equal terms have equal indexes."""
    values: NDArray[np.float32]
    """What each weighs, above 0; shape ``(terms,)``."""
