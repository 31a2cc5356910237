"""
The queue in front of one network: lanes, tenants, deadlines, overload; passes form while it works.

What an input is only the network knows: here it is a number of tokens and a load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Generic, NoReturn, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from milvane.domain.callers import ANYONE
from milvane.domain.errors import (
    DeadlineExceeded,
    Internal,
    Overloaded,
    ServiceError,
    UpstreamUnavailable,
)
from milvane.domain.models import Lane
from milvane.inference.batching import (
    cannot_finish,
    choose_lane,
    computed_tokens,
    is_admitted,
    pass_budget,
    retry_after_s,
)
from milvane.inference.lanes import LaneQueue
from milvane.inference.runtimes.port import Patience, Unanswered
from milvane.measures import INPUTS, TOKENS, Distribution

LOG = logging.getLogger(__name__)

_OUT_OF_MEMORY = (
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "can't alloc",
    "memoryerror",
)
"""How torch, OpenVINO and other processes say it; they have no error of one kind for it."""


Load = TypeVar("Load")

Forward: TypeAlias = Callable[[list[Load]], Sequence[NDArray[np.float32]] | NDArray[np.float32]]
"""Runs one pass: a row for each load, in order. Blocks; called from the threads of the queue."""


@dataclass(frozen=True, slots=True)
class Work(Generic[Load]):
    """One input of a request."""

    tokens: int
    """What it costs, at least 1: inputs of similar cost share passes."""
    load: Load
    """What the network takes."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What one pass, and one lane, may hold."""

    max_pass_tokens: int
    max_pending_tokens: int
    max_pending_inputs: int
    packs: bool = False
    """Whether padding costs a pass next to nothing; see `Runtime.packs`."""


@dataclass(slots=True)
class LaneCounts:
    """What was asked of one lane since the start."""

    requests: int = 0
    refused_requests: int = 0
    expired_requests: int = 0
    """Their deadline passed before they were done, or was certain to."""
    inputs: int = 0
    tokens: int = 0
    waits_s: Distribution = field(default_factory=Distribution)
    """From a request's arrival to the beginning of its first pass."""
    pass_times_s: Distribution = field(default_factory=Distribution)
    pass_tokens: Distribution = field(default_factory=lambda: Distribution(TOKENS))
    pass_inputs: Distribution = field(default_factory=lambda: Distribution(INPUTS))
    padded_tokens: int = 0
    """Tokens computed, padding included."""


@dataclass(slots=True)
class Counts:
    """What has been computed since the start."""

    passes: int = 0
    failed_passes: int = 0
    split_passes: int = 0
    """Those that did not fit into the device's memory."""
    given_up_passes: int = 0
    """Those that were ended because nobody waited for them any more."""
    inputs: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    busy_s: float = 0.0
    refused_requests: int = 0
    lanes: dict[Lane, LaneCounts] = field(
        default_factory=lambda: {lane: LaneCounts() for lane in Lane}
    )


@dataclass(slots=True, eq=False)
class _Request:
    rows: list[NDArray[np.float32]]
    missing: int
    done: asyncio.Future[None]
    queued_at_s: float
    deadline_s: float | None = None
    has_begun: bool = False


@dataclass(slots=True, eq=False)
class _Input(Generic[Load]):
    request: _Request
    row: int
    tokens: int
    load: Load


@dataclass(frozen=True, slots=True)
class _Pass(Generic[Load]):
    """One that runs."""

    inputs: list[_Input[Load]]
    patience: Patience | None
    """None if it cannot be ended."""


@dataclass(slots=True)
class _Outcome:
    """What one pass gave: a row or a failure for each of its inputs."""

    results: list[NDArray[np.float32] | ServiceError]
    elapsed_s: float
    failed: bool = False
    split: bool = False
    given_up: bool = False


class PassQueue(Generic[Load]):
    """
    Groups pending inputs of different requests into forward passes of one network.

    All state belongs to the event loop; only `_compute` runs in the pool's threads, and it touches
    nothing but its arguments and the network. The network is not closed here.
    """

    def __init__(
        self,
        forward: Forward[Load],
        limits: QueueLimits,
        *,
        forward_within: Callable[[Patience], Forward[Load]] | None = None,
        concurrency: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Prepare a queue; nothing runs before it is entered.

        Args:
            forward: What computes; outlives the queue.

            limits: Bounds of passes and lanes.

            forward_within: Makes what computes one pass as long as somebody waits for it; none if
                a pass cannot be ended.

            concurrency: Passes that may run at once.

            clock: Seconds that never go back.
        """
        self.counts = Counts()
        self._forward = forward
        self._forward_within = forward_within
        self._limits = limits
        self._concurrency = concurrency
        self._clock = clock
        self._lanes: dict[Lane, LaneQueue[_Input[Load]]] = {lane: LaneQueue() for lane in Lane}
        self._idle_slots = concurrency
        self._running_tokens = 0
        self._overtakes = 0
        self._tokens_per_s = 0.0
        self._fastest_tokens_per_s = 0.0
        self._open = False
        self._wakeup_is_due = False
        self._pool: ThreadPoolExecutor | None = None
        self._passes: dict[asyncio.Future[_Outcome], _Pass[Load]] = {}

    async def __aenter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self._concurrency, "milvane-forward")
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take nothing new; finish what is pending, or fail it if the way out is a failure."""
        self._open = False
        if error is not None:
            self._fail_pending(UpstreamUnavailable("the embedding engine is shutting down"))
        self._start_passes()
        while self._passes:
            await asyncio.wait(self._passes)
        if self._pool is not None:
            self._pool.shutdown()

    @property
    def pending_tokens(self) -> int:
        """Waiting tokens of both lanes; those of running passes not counted."""
        return sum(queue.tokens for queue in self._lanes.values())

    @property
    def pending_inputs(self) -> int:
        """Waiting inputs of both lanes; those of running passes not counted."""
        return sum(len(queue) for queue in self._lanes.values())

    def pending_inputs_of(self, lane: Lane) -> int:
        """Waiting inputs of one lane; those of running passes not counted."""
        return len(self._lanes[lane])

    async def run(
        self,
        work: Sequence[Work[Load]],
        *,
        lane: Lane,
        tenant: str = ANYONE.tenant,
        time_left_s: float | None = None,
    ) -> list[NDArray[np.float32]]:
        """
        Run inputs through the network, together with those of other requests.

        Cancelling the call drops what has not begun.

        Args:
            work: The inputs of one request.

            lane: Who waits.

            tenant: Whose work it is; in a lane, each gets an equal share of the tokens.

            time_left_s: Until nobody waits any more; none if somebody always does.

        Returns:
            What the network gives for each input, in the order given.

        Raises:
            Overloaded: If the lane is full of other requests; nothing was computed.

            DeadlineExceeded: If the time is over before all is computed, or is certain to be; what
                had not begun is not computed.

            UpstreamUnavailable: If the queue is closed or being closed.

            Internal: If the network fails on one of these inputs.
        """
        queue, loop, now_s = self._lanes[lane], asyncio.get_running_loop(), self._clock()
        request = _Request(
            rows=[np.empty(0, np.float32)] * len(work),
            missing=len(work),
            done=loop.create_future(),
            queued_at_s=now_s,
            deadline_s=None if time_left_s is None else now_s + time_left_s,
        )
        inputs = [_Input(request, row, each.tokens, each.load) for row, each in enumerate(work)]
        self._admit(inputs, lane, tenant, time_left_s)
        if not inputs:
            return request.rows
        queue.add(tenant, inputs)
        self._wake_up()
        timer = None
        if time_left_s is not None:
            timer = loop.call_later(time_left_s, self._expire, request, lane)
        try:
            await request.done
        except asyncio.CancelledError:
            self._forget(request, lane)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return request.rows

    def _expire(self, request: _Request, lane: Lane) -> None:
        if not request.done.done():
            self.counts.lanes[lane].expired_requests += 1
            request.done.set_exception(DeadlineExceeded("the deadline passed in the queue"))
            self._forget(request, lane)

    def _forget(self, request: _Request, lane: Lane) -> None:
        """Drop what nobody waits for any more, and end passes that hold nothing else."""
        self._lanes[lane].drop(lambda item: item.request is request)
        for running in self._passes.values():
            if running.patience and all(item.request.done.done() for item in running.inputs):
                running.patience.end()

    def _admit(
        self, inputs: Sequence[_Input[Load]], lane: Lane, tenant: str, time_left_s: float | None
    ) -> None:
        if not self._open:
            raise UpstreamUnavailable("the embedding engine is shutting down")
        counts, tokens = self.counts.lanes[lane], sum(item.tokens for item in inputs)
        counts.requests += 1
        if time_left_s is not None and cannot_finish(
            tokens, time_left_s, self._fastest_tokens_per_s
        ):
            counts.expired_requests += 1
            raise DeadlineExceeded(
                f"{tokens} tokens cannot be embedded in the {max(time_left_s, 0):.3g} s until the "
                "deadline: ask for less at once, or wait longer"
            )
        if not self._has_room(self._lanes[lane], tenant):
            counts.refused_requests += 1
            self.counts.refused_requests += 1
            self._refuse(self._lanes[lane], lane)

    def _has_room(self, queue: LaneQueue[_Input[Load]], tenant: str) -> bool:
        limits, tenants = self._limits, queue.tenants_with(tenant)
        own_inputs, own_tokens = queue.own(tenant)
        return is_admitted(
            queue.tokens, own_tokens, tenants, limits.max_pending_tokens
        ) and is_admitted(len(queue), own_inputs, tenants, limits.max_pending_inputs)

    def _refuse(self, queue: LaneQueue[_Input[Load]], lane: Lane) -> NoReturn:
        limits = self._limits
        wait_s = retry_after_s(queue.tokens, limits.max_pending_tokens, self._tokens_per_s)
        raise Overloaded(
            f"{len(queue)} inputs of {queue.tokens} tokens wait already in the {lane.value} lane; "
            f"try again in {wait_s:.0f} s",
            retry_after_s=wait_s,
        )

    def _wake_up(self) -> None:
        # Once per turn of the loop: requests that arrive in the same turn share passes.
        if not self._wakeup_is_due:
            self._wakeup_is_due = True
            asyncio.get_running_loop().call_soon(self._start_passes)

    def _start_passes(self) -> None:
        self._wakeup_is_due = False
        while self._idle_slots and (taken := self._take()):
            lane, inputs = taken
            self._idle_slots -= 1
            self._running_tokens += sum(item.tokens for item in inputs)
            self._begin(lane, inputs)
            forward, patience = self._forward, None
            if self._forward_within is not None:
                patience = Patience(_latest_deadline_s(inputs), clock=self._clock)
                forward = self._forward_within(patience)
            running = asyncio.get_running_loop().run_in_executor(
                self._pool, self._compute, forward, [item.load for item in inputs]
            )
            self._passes[running] = _Pass(inputs, patience)
            running.add_done_callback(partial(self._finish, lane, inputs))

    def _begin(self, lane: Lane, inputs: Sequence[_Input[Load]]) -> None:
        now_s, waits_s = self._clock(), self.counts.lanes[lane].waits_s
        for item in inputs:
            if not item.request.has_begun:
                item.request.has_begun = True
                waits_s.add(now_s - item.request.queued_at_s)

    def _take(self) -> tuple[Lane, list[_Input[Load]]] | None:
        interactive, bulk = self._lanes[Lane.INTERACTIVE], self._lanes[Lane.BULK]
        lane = choose_lane(
            interactive_waits=len(interactive) > 0,
            bulk_waits=len(bulk) > 0,
            overtakes=self._overtakes,
        )
        if lane is None:
            return None
        overtaking = lane is Lane.INTERACTIVE and len(bulk) > 0
        self._overtakes = self._overtakes + 1 if overtaking else 0
        budget = pass_budget(
            self._lanes[lane].tokens,
            self._running_tokens,
            slots=self._concurrency,
            max_pass_tokens=self._limits.max_pass_tokens,
        )
        return lane, self._lanes[lane].take(budget, packs=self._limits.packs)

    def _compute(self, forward: Forward[Load], loads: list[Load]) -> _Outcome:
        """Run one pass in a thread of the pool; if it fails, find out on which inputs."""
        started_s, failed, split = self._clock(), False, False
        results: list[NDArray[np.float32] | ServiceError]
        try:
            results = [*_run(forward, loads)]
        except DeadlineExceeded as late:
            elapsed_s = self._clock() - started_s
            return _Outcome([late for _ in loads], elapsed_s, given_up=True)
        except Exception as error:  # noqa: BLE001 - a bad pass must not end the queue
            LOG.warning("A pass of %d inputs failed: %s", len(loads), error)
            failed, split = True, is_out_of_memory(error)
            if len(loads) == 1 or isinstance(error, (Unanswered, Overloaded)):
                results = [_as_failure(error) for _ in loads]
            elif split:
                middle = (len(loads) + 1) // 2
                results = _run_half(forward, loads[:middle])
                results += _run_half(forward, loads[middle:])
            else:
                results = [_run_alone(forward, load) for load in loads]
        return _Outcome(results, self._clock() - started_s, failed, split)

    def _finish(
        self, lane: Lane, inputs: list[_Input[Load]], running: asyncio.Future[_Outcome]
    ) -> None:
        del self._passes[running]
        self._idle_slots += 1
        self._running_tokens -= sum(item.tokens for item in inputs)
        outcome = running.result()
        self._count(outcome, inputs, self.counts.lanes[lane])
        for item, result in zip(inputs, outcome.results, strict=True):
            self._deliver(lane, item, result)
        self._start_passes()

    def _deliver(
        self, lane: Lane, item: _Input[Load], result: NDArray[np.float32] | ServiceError
    ) -> None:
        request = item.request
        if request.done.done():
            return
        if isinstance(result, ServiceError):
            request.done.set_exception(result)
            self._forget(request, lane)
            return
        request.rows[item.row] = result
        request.missing -= 1
        if not request.missing:
            request.done.set_result(None)

    def _count(self, outcome: _Outcome, inputs: list[_Input[Load]], lane: LaneCounts) -> None:
        lengths = [item.tokens for item in inputs]
        tokens, padded = sum(lengths), computed_tokens(lengths, packs=self._limits.packs)
        counts = self.counts
        counts.passes += 1
        counts.failed_passes += outcome.failed
        counts.split_passes += outcome.split
        counts.given_up_passes += outcome.given_up
        counts.busy_s += outcome.elapsed_s
        for each in (counts, lane):
            each.inputs += len(inputs)
            each.tokens += tokens
            each.padded_tokens += padded
        lane.pass_times_s.add(outcome.elapsed_s)
        lane.pass_tokens.add(tokens)
        lane.pass_inputs.add(len(inputs))
        if outcome.elapsed_s > 0 and not (outcome.failed or outcome.given_up):
            rate = tokens / outcome.elapsed_s * self._concurrency
            self._fastest_tokens_per_s = max(self._fastest_tokens_per_s, rate)
            before = self._tokens_per_s or rate
            self._tokens_per_s = 0.9 * before + 0.1 * rate

    def _fail_pending(self, error: ServiceError) -> None:
        for queue in self._lanes.values():
            for item in queue:
                if not item.request.done.done():
                    item.request.done.set_exception(error)
            queue.drop(lambda _: True)


def _latest_deadline_s(inputs: Sequence[_Input[Load]]) -> float | None:
    """Say from when on nobody waits for a pass; none if somebody always does."""
    known = [deadline_s for item in inputs if (deadline_s := item.request.deadline_s) is not None]
    return max(known) if len(known) == len(inputs) else None


def _run(forward: Forward[Load], loads: list[Load]) -> list[NDArray[np.float32]]:
    rows = list(forward(loads))
    if len(rows) != len(loads):
        raise Internal(f"the network gave {len(rows)} vectors for {len(loads)} inputs")
    if not all(np.isfinite(row).all() for row in rows):
        raise Internal("the network gave a vector that is not finite: the weights may be damaged")
    return rows


def is_out_of_memory(error: BaseException | None) -> bool:
    """Say whether a device had too little memory, in whatever words its library says so."""
    while error is not None:
        said = str(error).lower()
        if isinstance(error, MemoryError) or any(words in said for words in _OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


def _run_half(
    forward: Forward[Load], loads: list[Load]
) -> list[NDArray[np.float32] | ServiceError]:
    """Run half of a pass that was too large, once; what fails again fails for good."""
    try:
        return [*_run(forward, loads)]
    except Exception as error:  # noqa: BLE001 - becomes the failure of these inputs' own requests
        if not is_out_of_memory(error):
            return [_run_alone(forward, load) for load in loads]
        return [_as_failure(error) for _ in loads]


def _run_alone(forward: Forward[Load], load: Load) -> NDArray[np.float32] | ServiceError:
    try:
        return _run(forward, [load])[0]
    except Exception as error:  # noqa: BLE001 - becomes the failure of this input's own request
        return _as_failure(error)


def _as_failure(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError) and not is_out_of_memory(error):
        return error
    if is_out_of_memory(error):
        return Overloaded("the device has too little memory for this now", retry_after_s=1.0)
    failure = Internal(f"the network failed on this input: {type(error).__name__}")
    failure.__cause__ = error
    return failure
