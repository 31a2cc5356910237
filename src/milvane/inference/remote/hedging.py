"""
When a second replica is asked because the first one is slow. Pure.

After "The Tail at Scale" (Dean and Barroso, 2013): once a request has taken longer than 95 of 100
of its size do, and never for more than a small share of all requests, so that a service that is
slow everywhere is not sent twice the work.
"""

from __future__ import annotations

from collections import deque

PERCENTILE = 0.95
KEPT = 128
"""Latencies that are remembered for each size."""
LEAST_SAMPLES = 20
"""Before so many are known, nothing is said about what is slow."""
MOST_SAVED = 10.0
"""Hedges that a calm time saves up at most."""


class Latencies:
    """What requests took lately, by their size: a large one is not slow for being large."""

    def __init__(self) -> None:
        self._by_size: dict[int, deque[float]] = {}

    def add(self, tokens: int, elapsed_s: float) -> None:
        """Note what one request took."""
        self._by_size.setdefault(_size(tokens), deque(maxlen=KEPT)).append(elapsed_s)

    def slow_s(self, tokens: int) -> float | None:
        """Say from when on a request is slow; none if too little is known."""
        known = sorted(self._by_size.get(_size(tokens), ()))
        if len(known) < LEAST_SAMPLES:
            return None
        return known[min(int(len(known) * PERCENTILE), len(known) - 1)]


class HedgeBudget:
    """Lets hedges through up to a share of all requests."""

    def __init__(self, share: float) -> None:
        """
        Begin with nothing saved.

        Args:
            share: Of all requests, from 0 to 1.
        """
        self._share = share
        self._saved = 0.0

    def note_request(self) -> None:
        """Note that a request is sent that is no hedge."""
        self._saved = min(self._saved + self._share, MOST_SAVED)

    def take(self) -> bool:
        """Say whether a hedge may be sent now; it counts as sent if so."""
        if self._saved < 1 - 1e-9:  # twenty times 0.05 are one, whatever the rounding
            return False
        self._saved = max(self._saved - 1, 0.0)
        return True


def _size(tokens: int) -> int:
    """Tell sizes apart by factors of four."""
    return (max(tokens, 1).bit_length() - 1) // 2
