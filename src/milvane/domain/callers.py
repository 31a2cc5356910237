"""Who calls: what the queue is fair to, the cache is kept apart by, and files belong to."""

from __future__ import annotations

from dataclasses import dataclass

from milvane.domain.usage import Operation


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in."""

    name: str
    """What may be shown: a user's name, or what a key is known by; never a secret."""
    tenant: str
    """Whose work and belongings theirs are; callers of one tenant share them."""


ANYONE = Caller(name="anonymous", tenant="default")
"""Whoever calls where nobody is asked who they are."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a call came through, and what it is part of."""

    operation: Operation
    instance: str = ""
    """Empty for a call that did not come through one."""


API = Origin(Operation.API)
