"""Usage: what each embedding call consumed, for whom, and how it ended."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class Operation(Enum):
    """What an embedding call was part of."""

    INSERT = "insert"
    SEARCH = "search"
    API = "api"
    JOB = "job"


class Outcome(Enum):
    """How a call ended, and whose doing that was."""

    SUCCESS = "success"
    REFUSED = "refused"
    """What was asked cannot be had: the input, the caller's rights or quota."""
    FAILED = "failed"
    """The service could not do what it offers."""


@dataclass(frozen=True, slots=True)
class UsageKey:
    """What calls are told apart by when they are summed up."""

    model: str
    provider: str
    """Who computed: the service itself, or a remote provider."""
    instance: str
    """Empty for a call that did not come through one."""
    operation: Operation
    tenant: str
    caller: str


def new_record_id() -> str:
    """Make an id that no other record of any server has."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One call's entry in the ledger."""

    key: UsageKey
    ended_at: datetime
    duration_s: float
    """From the call's admission to its end, waiting included."""
    outcome: Outcome
    error: str = ""
    """The kind of failure; empty after a success."""
    inputs: int = 0
    tokens: int = 0
    """Tokens of all inputs as usage counts them, those from the cache included."""
    cached_tokens: int = 0
    """Of these, tokens whose vectors came from the cache."""
    images: int = 0
    id: str = field(default_factory=new_record_id)
    """Counted once, however often it is handed in."""
