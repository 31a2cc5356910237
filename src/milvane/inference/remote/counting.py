"""What the replicas of a deployment were sent, and how they stand, for whoever watches them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from milvane.inference.remote.balancing import Condition
from milvane.measures import Distribution


@dataclass(slots=True)
class ReplicaCounts:
    """
    What one replica was sent since the start, looks at its health not counted.

    Written in the thread of the requests, read in others.
    """

    requests: int = 0
    """Repeats and hedges are requests of their own."""
    failures: Counter[str] = field(default_factory=Counter)
    """By whose fault they were: a value of `sending.Blame`."""
    given_up: int = 0
    """Another replica was first, or nobody waited any more."""
    answer_times_s: Distribution = field(default_factory=Distribution)
    """Of those that gave vectors."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica at one moment."""

    url: str
    """As the settings write it, which hold no user and no query."""
    counts: ReplicaCounts
    outstanding: int
    """Requests under way."""
    condition: Condition
