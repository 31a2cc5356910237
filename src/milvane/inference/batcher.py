"""The queue in front of one runtime: lanes, cancellation, overload; batches form while it works."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from milvane.domain.errors import Internal, Overloaded, ServiceError, UpstreamUnavailable
from milvane.domain.models import Lane
from milvane.inference.batching import (
    choose_lane,
    pass_budget,
    plan_pass,
    retry_after_s,
    round_up,
)
from milvane.inference.runtimes.port import Runtime

LOG = logging.getLogger(__name__)

FRONT_INPUTS = 256
"""How many of the oldest inputs are looked at for one pass."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What one pass, and one lane, may hold."""

    max_pass_tokens: int
    max_pending_tokens: int
    max_pending_inputs: int


@dataclass(slots=True)
class Counts:
    """What has been computed since the start."""

    passes: int = 0
    failed_passes: int = 0
    inputs: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    busy_s: float = 0.0
    refused_requests: int = 0


@dataclass(slots=True, eq=False)
class _Request:
    vectors: NDArray[np.float32]
    missing: int
    done: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Input:
    request: _Request
    row: int
    token_ids: NDArray[np.int32]


@dataclass(slots=True)
class _Outcome:
    """What one pass gave: a vector or a failure for each of its inputs."""

    results: list[NDArray[np.float32] | ServiceError]
    elapsed_s: float
    failed: bool


@dataclass(slots=True)
class _LaneQueue:
    """Pending inputs of one lane, oldest first; the first of them stand in `front`."""

    front: list[_Input] = field(default_factory=list)
    rest: deque[_Input] = field(default_factory=deque)
    tokens: int = 0

    def __len__(self) -> int:
        return len(self.front) + len(self.rest)

    def add(self, inputs: Sequence[_Input]) -> None:
        self.rest.extend(inputs)
        self.tokens += sum(len(item.token_ids) for item in inputs)

    def take(self, idle_slots: int, max_pass_tokens: int) -> list[_Input]:
        while self.rest and len(self.front) < FRONT_INPUTS:
            self.front.append(self.rest.popleft())
        lengths = [len(item.token_ids) for item in self.front]
        chosen = plan_pass(lengths, pass_budget(self.tokens, idle_slots, max_pass_tokens))
        taken = [self.front[position] for position in chosen]
        leaving = set(chosen)
        self.front = [item for i, item in enumerate(self.front) if i not in leaving]
        self.tokens -= sum(len(item.token_ids) for item in taken)
        return taken

    def drop(self, request: _Request) -> None:
        """Forget the inputs of a request that nobody waits for any more."""
        kept = [item for item in (*self.front, *self.rest) if item.request is not request]
        self.front, self.rest = [], deque(kept)
        self.tokens = sum(len(item.token_ids) for item in kept)


class Batcher:
    """
    Groups pending inputs of different requests into forward passes of one runtime.

    All state belongs to the event loop; only `_compute` runs in the pool's threads, and it touches
    nothing but its arguments and the runtime. The runtime is not closed here.
    """

    def __init__(
        self,
        runtime: Runtime,
        limits: QueueLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Prepare a queue; nothing runs before it is entered.

        Args:
            runtime: What computes; outlives the batcher.

            limits: Bounds of passes and lanes.

            clock: Seconds that never go back.
        """
        self.counts = Counts()
        self._runtime = runtime
        self._limits = limits
        self._clock = clock
        self._lanes = {lane: _LaneQueue() for lane in Lane}
        self._idle_slots = runtime.concurrency
        self._overtakes = 0
        self._tokens_per_s = 0.0
        self._open = False
        self._wakeup_is_due = False
        self._pool: ThreadPoolExecutor | None = None
        self._passes: set[asyncio.Future[_Outcome]] = set()

    async def __aenter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self._runtime.concurrency, "milvane-forward")
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

    async def compute(
        self, token_ids: Sequence[NDArray[np.int32]], *, lane: Lane
    ) -> NDArray[np.float32]:
        """
        Run inputs through the network, together with those of other requests.

        Args:
            token_ids: Each input's ids, special tokens included, at least one.

            lane: Who waits.

        Returns:
            One row per input, in the order given, shape ``(inputs, width)``, not normalized.

        Raises:
            Overloaded: If the lane is full of other requests; nothing was computed.

            UpstreamUnavailable: If the batcher is closed or being closed.

            Internal: If the network fails on one of these inputs.
        """
        queue = self._lanes[lane]
        self._admit(queue, lane)
        request = _Request(
            vectors=np.empty((len(token_ids), self._runtime.width), np.float32),
            missing=len(token_ids),
            done=asyncio.get_running_loop().create_future(),
        )
        if not token_ids:
            return request.vectors
        queue.add([_Input(request, row, ids) for row, ids in enumerate(token_ids)])
        self._wake_up()
        try:
            await request.done
        except asyncio.CancelledError:
            queue.drop(request)
            raise
        return request.vectors

    def _admit(self, queue: _LaneQueue, lane: Lane) -> None:
        if not self._open:
            raise UpstreamUnavailable("the embedding engine is shutting down")
        limits = self._limits
        if queue.tokens < limits.max_pending_tokens and len(queue) < limits.max_pending_inputs:
            return
        self.counts.refused_requests += 1
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
        while self._idle_slots and (inputs := self._take()):
            self._idle_slots -= 1
            running = asyncio.get_running_loop().run_in_executor(
                self._pool, self._compute, [item.token_ids for item in inputs]
            )
            self._passes.add(running)
            running.add_done_callback(partial(self._finish, inputs))

    def _take(self) -> list[_Input]:
        interactive, bulk = self._lanes[Lane.INTERACTIVE], self._lanes[Lane.BULK]
        lane = choose_lane(
            interactive_waits=len(interactive) > 0,
            bulk_waits=len(bulk) > 0,
            overtakes=self._overtakes,
        )
        if lane is None:
            return []
        overtaking = lane is Lane.INTERACTIVE and len(bulk) > 0
        self._overtakes = self._overtakes + 1 if overtaking else 0
        return self._lanes[lane].take(self._idle_slots, self._limits.max_pass_tokens)

    def _compute(self, token_ids: list[NDArray[np.int32]]) -> _Outcome:
        """Run one pass in a thread of the pool; if it fails, find out on which inputs."""
        started_s = self._clock()
        results: list[NDArray[np.float32] | ServiceError]
        try:
            results = list(_forward(self._runtime, token_ids))
            failed = False
        except Exception as error:  # noqa: BLE001 - a bad pass must not end the queue
            LOG.warning("A pass of %d inputs failed: %s", len(token_ids), error)
            alone = len(token_ids) == 1
            results = [
                _as_failure(error) if alone else _forward_alone(self._runtime, ids)
                for ids in token_ids
            ]
            failed = True
        return _Outcome(results, self._clock() - started_s, failed)

    def _finish(self, inputs: list[_Input], running: asyncio.Future[_Outcome]) -> None:
        self._passes.discard(running)
        self._idle_slots += 1
        outcome = running.result()
        self._count(outcome, inputs)
        for item, result in zip(inputs, outcome.results, strict=True):
            self._deliver(item, result)
        self._start_passes()

    def _deliver(self, item: _Input, result: NDArray[np.float32] | ServiceError) -> None:
        request = item.request
        if request.done.done():
            return
        if isinstance(result, ServiceError):
            request.done.set_exception(result)
            for queue in self._lanes.values():
                queue.drop(request)
            return
        request.vectors[item.row] = result
        request.missing -= 1
        if not request.missing:
            request.done.set_result(None)

    def _count(self, outcome: _Outcome, inputs: list[_Input]) -> None:
        lengths = [len(item.token_ids) for item in inputs]
        counts = self.counts
        counts.passes += 1
        counts.failed_passes += outcome.failed
        counts.inputs += len(inputs)
        counts.tokens += sum(lengths)
        counts.padded_tokens += len(inputs) * round_up(max(lengths))
        counts.busy_s += outcome.elapsed_s
        if outcome.elapsed_s > 0:
            rate = sum(lengths) / outcome.elapsed_s * self._runtime.concurrency
            before = self._tokens_per_s or rate
            self._tokens_per_s = 0.9 * before + 0.1 * rate

    def _fail_pending(self, error: ServiceError) -> None:
        for queue in self._lanes.values():
            for item in (*queue.front, *queue.rest):
                if not item.request.done.done():
                    item.request.done.set_exception(error)
            queue.front, queue.rest, queue.tokens = [], deque(), 0


def _forward(runtime: Runtime, token_ids: list[NDArray[np.int32]]) -> NDArray[np.float32]:
    lengths = np.array([len(ids) for ids in token_ids], np.int32)
    padded = np.zeros((len(token_ids), round_up(int(lengths.max()))), np.int32)
    for row, ids in enumerate(token_ids):
        padded[row, : len(ids)] = ids
    vectors = runtime.forward(padded, lengths)
    if not np.isfinite(vectors).all():
        raise Internal("the network gave a vector that is not finite: the weights may be damaged")
    return vectors


def _forward_alone(runtime: Runtime, ids: NDArray[np.int32]) -> NDArray[np.float32] | ServiceError:
    try:
        return np.asarray(_forward(runtime, [ids])[0])
    except Exception as error:  # noqa: BLE001 - becomes the failure of this input's own request
        return _as_failure(error)


def _as_failure(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    failure = Internal(f"the network failed on this input: {type(error).__name__}")
    failure.__cause__ = error
    return failure
