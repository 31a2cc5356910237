"""What the management API asks of those who look into the running server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from milvane.apis.metrics import Measured
from milvane.control_plane.additions import PortPlan
from milvane.domain.collections import CollectionPage, CollectionQuery, TextHit, TextSearch
from milvane.domain.jobs import Job, JobPage, JobState
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService


class Inspector(Protocol):
    """Looks into one instance, in the name of whoever is being served."""

    async def list_collections(self, query: CollectionQuery) -> CollectionPage:
        """
        Describe collections of a database, in the order of their names.

        Raises:
            NotFound: If there is no such database.
            UpstreamRejected: If the upstream will not tell.
        """

    async def search(self, question: TextSearch) -> Sequence[TextHit]:
        """
        Find what is nearest to a text, best first.

        Raises:
            NotFound: If there is no such collection.
            UpstreamRejected: If the upstream will not search.
            ServiceError: As embedding the text does.
        """


class Overseer(Protocol):
    """Lists and cancels jobs, whoever's they are."""

    async def list_all(
        self, *, states: Set[JobState] = frozenset(), limit: int, offset: int = 0
    ) -> JobPage:
        """List jobs of all tenants and kinds, newest first; no states are all states."""

    async def cancel(self, job_id: str, *, actor: str) -> Job:
        """
        Have a job end with what it has.

        Raises:
            NotFound: If there is none.
            Conflict: If it cannot be cancelled any more.
        """


class InstanceDoors(Protocol):
    """Serves the instances that operators add, each at a port of its own."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why calls to an added instance would fail now, by its name; only those that would."""

    @property
    def port_plan(self) -> PortPlan:
        """Which ports added instances may get."""

    @property
    def in_settings(self) -> Collection[str]:
        """Instances that the settings name."""

    async def settled(self, name: str) -> None:
        """Wait until it is known whether an instance can be served, for some seconds at most."""


class WeightsState(Enum):
    """How a set of weights stands in this server."""

    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    """Nobody new may use it, and work that was under way ends."""
    UNLOADED = "unloaded"
    FAILED = "failed"
    """It could not be loaded; that is tried again."""


@dataclass(frozen=True, slots=True)
class WeightsStanding:
    """How a set of weights stands, and why, where that is to be said."""

    state: WeightsState
    trouble: str = ""


class WeightsShelf(Protocol):
    """Follows which weights operators want in memory."""

    @property
    def standings(self) -> Mapping[str, WeightsStanding]:
        """How each set of weights that serves a model stands here, by its name."""


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """A setting as it is in force, its secrets hidden."""

    key: str
    """With its section."""
    value: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class Insight:
    """The running server, as far as an operator may look into it."""

    embedding: EmbeddingService
    measured: Measured
    readiness: Callable[[], Readiness]
    inspectors: Callable[[], Mapping[str, Inspector]]
    """By the instance's name, once its upstream is open."""
    overseer: Overseer
    settings: Callable[[], Sequence[EffectiveSetting]]
    started_at: datetime
