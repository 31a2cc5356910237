"""How often, and how it is distributed: counters that cost next to nothing. Shown by `apis`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds for times."""

TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Bounds for sizes of forward passes."""


INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Bounds for how many texts a pass holds."""


class Distribution:
    """Counts values by size. Belongs to one thread."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        """
        Begin at nothing.

        Args:
            bounds: Largest values of all sizes but the last one, ascending.
        """
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Values of each size; the last are larger than every bound."""
        self.total = 0.0
        """All values together."""

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(frozen=True, slots=True)
class Operation:
    """What somebody asked a front door for."""

    door: str
    """`http`, or `milvus` for that port."""
    name: str
    """The path as the routes write it, or the RPC; never what a caller made up."""
    status: str
    """The HTTP status or the name of the gRPC one."""


@dataclass(slots=True)
class Operations:
    """How long requests took, by what was asked and what came of it."""

    durations: dict[Operation, Distribution] = field(default_factory=dict)

    def add(self, operation: Operation, duration_s: float) -> None:
        """Count a request."""
        found = self.durations.get(operation)
        if found is None:
            found = self.durations[operation] = Distribution()
        found.add(duration_s)

    def view(self) -> Mapping[Operation, Distribution]:
        """Show what was counted."""
        return MappingProxyType(self.durations)
