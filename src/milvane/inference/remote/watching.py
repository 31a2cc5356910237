"""
The watch over the replicas of one deployment.

A replica is trusted once it has given the vectors of known texts. One that was lost, or whose
connection broke, is looked at before it is asked again, for it may be another one now. All of it
runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from milvane.domain.breaking import Breaker, BreakerLimits
from milvane.domain.errors import Conflict, UpstreamUnavailable
from milvane.inference.remote.balancing import (
    BalancingLimits,
    ReplicaState,
    can_serve,
    condition_of,
)
from milvane.inference.remote.counting import ReplicaCounts, ReplicaView
from milvane.inference.remote.dialects import Inputs
from milvane.inference.remote.sending import AttemptFailed, Blame, Sender
from milvane.inference.remote.settings import RemoteSettings
from milvane.inference.self_test import LEAST_COSINE
from milvane.inference.windowing import normalize_rows

LOG = logging.getLogger(__name__)

MISSED_LOOKS = 2
"""Looks in a row without an answer after which a replica is lost: one may be a hiccup."""
START_PAUSE_S = 0.2
_MISPLACED = frozenset({Blame.ANSWER, Blame.ACCESS, Blame.REQUEST})
"""It answers the test, and is not what the settings say."""


@dataclass(slots=True)
class Replica:
    """One server."""

    url: str
    """With its path, without the request's."""
    state: ReplicaState = field(default_factory=ReplicaState)
    trouble: str = "it was not reached yet"
    """What was last wrong with it."""
    missed_looks: int = 0
    is_other: bool = False
    """It answers, but is not what the settings say."""
    counts: ReplicaCounts = field(default_factory=ReplicaCounts)


class Watch:
    """Knows how each replica stands; `run` is its task."""

    def __init__(
        self,
        settings: RemoteSettings,
        sender: Sender,
        probes: Inputs,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Prepare; nothing is sent yet.

        Args:
            settings: Which servers.

            sender: Reaches them.

            probes: Inputs whose vectors tell whether a replica is what it should be.

            clock: Seconds that never go back.
        """
        self.limits = BalancingLimits(
            settings.max_concurrent,
            BreakerLimits(settings.breaker_failures, settings.breaker_open_s),
        )
        self.replicas = [Replica(sender.dialect.base_url(url)) for url in settings.urls]
        self.changed = asyncio.Event()
        """Set whenever a replica may have become able to take a request."""
        self.clock = clock
        self._settings = settings
        self._sender = sender
        self._probes = probes
        self._expected: NDArray[np.float32] | None = None
        self._look_now = asyncio.Event()

    @property
    def states(self) -> list[ReplicaState]:
        """How all replicas stand, by position."""
        return [replica.state for replica in self.replicas]

    def view(self) -> list[ReplicaView]:
        """Show all replicas, by position; from any thread."""
        now, views = self.clock(), []
        for url, replica in zip(self._settings.urls, self.replicas, strict=True):
            state = replica.state  # once: the thread of the requests puts another one in its place
            condition = condition_of(state, self.limits, now=now)
            views.append(ReplicaView(url, replica.counts, state.outstanding, condition))
        return views

    async def start(self) -> None:
        """
        Wait for the first replica that can be trusted.

        Raises:
            Conflict: If replicas answer, but not with the vectors that they should.

            UpstreamUnavailable: If none answers in time.
        """
        deadline = self.clock() + self._settings.start_timeout_s
        while True:
            await self._look_at_all()
            if others := [replica for replica in self.replicas if replica.is_other]:
                raise Conflict(f"a server is not what the settings say: {_list(others)}")
            if any(state.is_trusted for state in self.states):
                return
            if self.clock() >= deadline:
                raise UpstreamUnavailable(
                    f"no server that runs {self._settings.weights} answers: {_list(self.replicas)}"
                )
            await asyncio.sleep(START_PAUSE_S)

    async def run(self) -> None:
        """Look at every replica again and again, until cancelled."""
        while True:
            self._look_now.clear()
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), self._settings.health_interval_s)
            await self._look_at_all()

    def lose(self, replica: Replica, why: str) -> None:
        """Trust a replica no longer, and look at it at once."""
        if replica.state.is_trusted:
            LOG.warning("%s is not asked until it answers again: %s", replica.url, why)
            replica.trouble = why
            replica.state = replace(replica.state, is_trusted=False, lost_at=self.clock())
            self._look_now.set()

    def trouble(self) -> str | None:
        """Say why no replica can be asked, for operators; none if one can."""
        now = self.clock()
        if any(can_serve(state, self.limits, now=now) for state in self.states):
            return None
        return f"no server that runs {self._settings.weights} answers: {_list(self.replicas)}"

    async def _look_at_all(self) -> None:
        await asyncio.gather(*(self._look(replica) for replica in self.replicas))
        self.changed.set()

    async def _look(self, replica: Replica) -> None:
        try:
            await self._sender.look(replica.url)
        except AttemptFailed as failed:
            if failed.blame is not Blame.ANSWER:  # it lives, and says a lot
                self._miss(replica, failed.message)
                return
        replica.missed_looks = 0
        is_open = replica.state.breaker.failures >= self.limits.breaker.max_failures
        if not replica.state.is_trusted or is_open:
            await self._test(replica)
        self.changed.set()

    def _miss(self, replica: Replica, why: str) -> None:
        replica.missed_looks += 1
        if not replica.state.is_trusted:
            replica.trouble = why
        elif replica.missed_looks >= MISSED_LOOKS:
            self.lose(replica, why)

    async def _test(self, replica: Replica) -> None:
        """Trust a replica if it gives the vectors that the first one gave."""
        try:
            found = await self._sender.embed(
                replica.url, self._probes, self._settings.attempt_timeout_s
            )
        except AttemptFailed as failed:
            replica.trouble = failed.message
            replica.is_other = failed.blame in _MISPLACED
            replica.state = replace(replica.state, is_trusted=False)
            return
        vectors = normalize_rows(found)
        if self._expected is None:
            self._expected = vectors
        cosine = float(np.einsum("ij,ij->i", vectors, self._expected).min())
        replica.is_other = cosine < LEAST_COSINE
        if replica.is_other:
            replica.trouble = (
                f"it gives other vectors than the first replica did (cosine {cosine:.3f}): it "
                "runs another model, or pools in another way"
            )
            LOG.error("%s is not asked: %s", replica.url, replica.trouble)
        else:
            LOG.info("%s answers as it should", replica.url)
        replica.state = replace(replica.state, is_trusted=not replica.is_other, breaker=Breaker())


def _list(replicas: Sequence[Replica]) -> str:
    return "; ".join(f"{replica.url}: {replica.trouble}" for replica in replicas)
