"""
One request to one of several replicas, with its retries and hedges.

The shell around `balancing` and `hedging`; runs in the event loop of the replicas' `watching`.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from milvane.domain.breaking import Outcome, admit, settle
from milvane.domain.errors import (
    DeadlineExceeded,
    Overloaded,
    ServiceError,
    UpstreamRejected,
    UpstreamUnavailable,
)
from milvane.inference.remote.balancing import choose, wait_s
from milvane.inference.remote.dialects import Inputs
from milvane.inference.remote.hedging import HedgeBudget, Latencies
from milvane.inference.remote.sending import USUAL_BUSY_S, AttemptFailed, Blame, Sender
from milvane.inference.remote.settings import RemoteSettings
from milvane.inference.remote.watching import Replica, Watch
from milvane.inference.runtimes.port import Unanswered

FIRST_PAUSE_S = 0.1
"""Before the second attempt at the same replicas; doubles."""
LEAST_TIME_S = 1.0
"""With less left, a request is refused rather than sent."""
HOPELESS = 10
"""How many times what is slow an attempt takes that counts against a replica, however it ends."""
HEDGE = "hedge"
_SICK = frozenset({Blame.CONNECTION, Blame.TIME, Blame.LATE, Blame.SERVER, Blame.ANSWER})
_TOO_SOON = frozenset({Blame.TIME, Blame.LATE})
"""What may be the fault of whoever had little time."""
_UNTRUSTED = frozenset({Blame.ACCESS, Blame.CONNECTION})


@dataclass(slots=True)
class AskingCounts:
    """What was sent since the start."""

    requests: int = 0
    retries: int = 0
    hedges: int = 0
    won_hedges: int = 0


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request."""

    inputs: Inputs
    tokens: int
    deadline: float
    is_hurried: bool
    """The deadline is that of those who wait, and less than the replicas are given otherwise."""


class Asker:
    """Asks replicas; usable while their watch runs."""

    def __init__(self, settings: RemoteSettings, sender: Sender, watch: Watch) -> None:
        """
        Prepare; nothing is sent yet.

        Args:
            settings: How the servers are asked.

            sender: Reaches them.

            watch: Knows how they stand.
        """
        self.counts = AskingCounts()
        self._settings = settings
        self._sender = sender
        self._watch = watch
        self._latencies = Latencies()
        self._budget = HedgeBudget(settings.hedge_share)

    async def ask(
        self, inputs: Inputs, tokens: int, time_left_s: float | None = None
    ) -> NDArray[np.float32]:
        """
        Get the vectors of one request's inputs.

        Args:
            inputs: Token ids or texts.

            tokens: Of all of them, to tell what is slow.

            time_left_s: Until nobody waits any more; none if somebody always does.

        Returns:
            Shape ``(inputs, width)``, finite and not zero, of any length.

        Raises:
            Unanswered: If no replica can be reached, whatever it is asked.

            Overloaded: If all of them ask to be left alone for longer than there is time.

            DeadlineExceeded: If nobody waits any more.

            UpstreamRejected: If this request is refused, or cannot be answered with vectors.

            UpstreamUnavailable: If they fail over it.
        """
        longest_s = self._settings.request_timeout_s
        is_hurried = time_left_s is not None and time_left_s < longest_s
        left_s = time_left_s if time_left_s is not None and is_hurried else longest_s
        asked = _Ask(inputs, tokens, self._watch.clock() + left_s, is_hurried)
        self.counts.requests += 1
        tried: set[int] = set()
        failure: AttemptFailed | None = None
        for attempt in range(self._settings.max_attempts):
            position = await self._find(tried, attempt, asked, failure)
            self.counts.retries += attempt > 0
            tried.add(position)
            try:
                return await self._ask_hedged(position, asked)
            except AttemptFailed as failed:
                failure = failed
            if failure.blame is Blame.REQUEST:
                break
        raise self._final(asked, failure)

    async def _find(
        self, tried: set[int], attempts: int, asked: _Ask, failure: AttemptFailed | None
    ) -> int:
        """Choose a replica that was not tried yet; else any, after a pause."""
        watch, deadline = self._watch, asked.deadline
        if asked.is_hurried and watch.clock() >= deadline:
            raise _late()
        position = choose(watch.states, watch.limits, now=watch.clock(), avoid=tried)
        if position is not None:
            return position
        if attempts:
            # Not all at once; it is no secret when.
            jitter = 1 + random.random() / 4  # noqa: S311
            pause_s = FIRST_PAUSE_S * 2.0 ** (attempts - 1) * jitter
            await asyncio.sleep(min(pause_s, max(deadline - watch.clock(), 0.0)))
        # Whoever is asked with no time left looks sick for it, and is not; see `_judge`.
        least_s = min(LEAST_TIME_S, self._settings.attempt_timeout_s / 4)
        if asked.is_hurried:
            least_s = 0.0
        while True:
            now = watch.clock()
            left_s = deadline - now
            position = choose(watch.states, watch.limits, now=now)
            if position is not None and left_s > least_s:
                return position
            useful_s = wait_s(watch.states, watch.limits, now=now)
            if useful_s is None:
                raise self._final(asked, failure)
            if isfinite(useful_s) and useful_s > left_s:
                raise _busy(useful_s)
            if left_s <= least_s:
                raise _late() if asked.is_hurried else _busy(USUAL_BUSY_S)
            watch.changed.clear()
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(watch.changed.wait(), min(useful_s, left_s))

    def _final(self, asked: _Ask, failure: AttemptFailed | None) -> ServiceError:
        """Say to callers why there are no vectors, without the servers' addresses."""
        blame = failure.blame if failure else None
        if blame is Blame.LATE and asked.is_hurried:
            return _late()
        if failure and blame in (Blame.REQUEST, Blame.ANSWER):
            return UpstreamRejected(f"the server that runs these weights: {failure.message}")
        if failure and blame is Blame.BUSY:
            return _busy(failure.retry_after_s or USUAL_BUSY_S)
        is_servers = blame in (Blame.SERVER, Blame.LATE)
        if failure and is_servers and self._watch.trouble() is None:
            return UpstreamUnavailable(f"the server that runs these weights: {failure.message}")
        said = dict.fromkeys(replica.trouble for replica in self._watch.replicas)
        reasons = failure.message if failure else "; ".join(said)
        return Unanswered(f"no server that runs these weights answers: {reasons}")

    async def _ask_hedged(self, position: int, asked: _Ask) -> NDArray[np.float32]:
        """Ask one replica; a second one as well if that takes long. The first answer counts."""
        watch = self._watch
        self._budget.note_request()
        attempts = {self._begin(position, asked, "first")}
        slow_s = self._latencies.slow_s(asked.tokens)
        try:
            if slow_s is not None and len(watch.replicas) > 1:
                done, _ = await asyncio.wait(attempts, timeout=slow_s)
                second = choose(watch.states, watch.limits, now=watch.clock(), avoid={position})
                if not done and second is not None and self._budget.take():
                    self.counts.hedges += 1
                    attempts.add(self._begin(second, asked, HEDGE))
            return await self._first(attempts)
        finally:
            for attempt in attempts:
                attempt.cancel()

    async def _first(self, attempts: set[asyncio.Task[NDArray[np.float32]]]) -> NDArray[np.float32]:
        """Wait for the first answer; a failure counts only if there is no answer to come."""
        pending, failure = set(attempts), AttemptFailed("it was not asked", Blame.CONNECTION)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                try:
                    vectors = attempt.result()
                except AttemptFailed as failed:
                    failure = failed
                    continue
                self.counts.won_hedges += attempt.get_name() == HEDGE
                return vectors
            if failure.blame is Blame.REQUEST:
                break
        raise failure

    def _begin(self, position: int, asked: _Ask, name: str) -> asyncio.Task[NDArray[np.float32]]:
        """Count a request as under way, and send it in a task of its own."""
        watch = self._watch
        replica, started = watch.replicas[position], watch.clock()
        replica.counts.requests += 1
        replica.state = replace(
            replica.state,
            outstanding=replica.state.outstanding + 1,
            last_asked=max(state.last_asked for state in watch.states) + 1,
            breaker=admit(replica.state.breaker, watch.limits.breaker),
        )
        timeout_s = min(self._settings.attempt_timeout_s, max(asked.deadline - started, 0.0))
        sending = self._sender.embed(replica.url, asked.inputs, timeout_s)
        task = asyncio.create_task(sending, name=name)

        def end(task: asyncio.Task[NDArray[np.float32]]) -> None:
            # A callback, for it also runs if the task is cancelled before its first step.
            elapsed_s = watch.clock() - started
            error = None if task.cancelled() else task.exception()
            failure = error if isinstance(error, AttemptFailed) else None
            if task.cancelled():
                replica.counts.given_up += 1
            elif failure is not None:
                replica.counts.failures[failure.blame.value] += 1
            elif error is None:
                replica.counts.answer_times_s.add(elapsed_s)
                self._latencies.add(asked.tokens, elapsed_s)
            outcome = self._judge(asked, failure, elapsed_s, is_cancelled=task.cancelled())
            self._settle(replica, outcome, failure)

        task.add_done_callback(end)
        return task

    def _judge(
        self, asked: _Ask, failure: AttemptFailed | None, elapsed_s: float, *, is_cancelled: bool
    ) -> Outcome:
        """
        Say what the end of an attempt tells of the replica's health.

        Of one that was not waited for as long as usual, nothing, unless a whole crowd of others
        would have been answered meanwhile: else a replica that hangs is never left alone where
        everybody is in a hurry.
        """
        is_short = asked.is_hurried and failure is not None and failure.blame in _TOO_SOON
        if is_cancelled or is_short:
            slow_s = self._latencies.slow_s(asked.tokens)
            is_hopeless = slow_s is not None and elapsed_s > HOPELESS * slow_s
            return Outcome.SICK if is_hopeless else Outcome.UNKNOWN
        is_sick = failure is not None and failure.blame in _SICK
        return Outcome.SICK if is_sick else Outcome.HEALTHY

    def _settle(self, replica: Replica, outcome: Outcome, failure: AttemptFailed | None) -> None:
        """Note how an attempt ended."""
        watch, state = self._watch, replica.state
        now, not_before = watch.clock(), state.not_before
        if failure is not None:
            replica.trouble = failure.message
            if failure.retry_after_s is not None:
                not_before = max(not_before, now + failure.retry_after_s)
        replica.state = replace(
            state,
            outstanding=state.outstanding - 1,
            not_before=not_before,
            breaker=settle(state.breaker, outcome, watch.limits.breaker, now=now),
        )
        if failure is not None and failure.blame in _UNTRUSTED:
            watch.lose(replica, failure.message)
        watch.changed.set()


def _busy(retry_after_s: float) -> Overloaded:
    return Overloaded(
        "the servers that run these weights are busy: try again later",
        retry_after_s=max(retry_after_s, 1.0),
    )


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before a server that runs these weights answered")
