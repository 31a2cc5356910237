"""How long things take, and how that is summed up."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def timed_s(action: Callable[[], object]) -> float:
    """Do something once; return the seconds that it took."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def quantiles_ms(durations_s: list[float] | np.ndarray) -> tuple[float, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    p50, p99 = np.quantile(np.asarray(durations_s) * 1000, [0.5, 0.99])
    return float(p50), float(p99)
