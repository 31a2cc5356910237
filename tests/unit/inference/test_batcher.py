"""The queue in front of a runtime."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

import numpy as np
import pytest
from numpy.typing import NDArray

from milvane.domain.errors import (
    DeadlineExceeded,
    Internal,
    Overloaded,
    ServiceError,
    UpstreamUnavailable,
)
from milvane.domain.models import Lane
from milvane.inference.batcher import Batcher
from milvane.inference.passes import QueueLimits, is_out_of_memory
from milvane.inference.runtimes.port import Patience, Unanswered

Ids = NDArray[np.int32]

LIMITS = QueueLimits(max_pass_tokens=64, max_pending_tokens=9999, max_pending_inputs=999)
TIGHT = QueueLimits(max_pass_tokens=64, max_pending_tokens=100, max_pending_inputs=10)
POISON = 1_000_000
PATIENCE_S = 10.0
"""After this a test fails, where it would wait for ever."""


class SteppedRuntime:
    """
    Computes sums of ids; each pass waits for a permit of the test, and says that it waits.

    A pass with the id `POISON` in it fails; one that begins with a negative id gives NaN; one of
    more rows than `max_rows` has too little memory.
    """

    name = "stepped"
    precision = "f32"
    threads = 1
    width = 3
    max_tokens = 512
    max_rows = 10_000
    packs = False

    def __init__(self, concurrency: int = 1, *, permits: int = 0) -> None:
        self.concurrency = concurrency
        self.started: SimpleQueue[list[int]] = SimpleQueue()
        """The first id of each row, for each pass that has begun."""
        self._permits = threading.Semaphore(permits)

    def allow(self, passes: int = 1) -> None:
        """Let passes go on."""
        self._permits.release(passes)

    async def wait_for_pass(self) -> list[int]:
        """Wait until a pass has begun, and say what is in it."""
        return await asyncio.to_thread(self.started.get, timeout=PATIENCE_S)

    def forward(self, token_ids: Ids, lengths: Ids) -> NDArray[np.float32]:
        """Sum the real ids of each row."""
        self.started.put([int(row[0]) for row in token_ids])
        if not self._permits.acquire(timeout=PATIENCE_S):
            raise TimeoutError("the test never let this pass go on")
        if len(token_ids) > self.max_rows:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if (token_ids == POISON).any():
            raise RuntimeError("poison")
        rows = [row[:length] for row, length in zip(token_ids, lengths, strict=True)]
        vectors = np.array([[row[0], row.sum(), len(row)] for row in rows], np.float32)
        vectors[vectors[:, 0] < 0] = np.nan
        return vectors

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture
def runtime() -> Iterator[SteppedRuntime]:
    """One pass at a time, each on the test's word; whatever still waits at the end goes on."""
    stepped = SteppedRuntime()
    yield stepped
    stepped.allow(1000)


def inputs(*first_ids: int, tokens: int = 4) -> list[Ids]:
    """Make inputs of equal length that can be told apart."""
    return [np.array([first, *[1] * (tokens - 1)], np.int32) for first in first_ids]


def submit(
    batcher: Batcher, token_ids: Sequence[Ids], lane: Lane = Lane.BULK, tenant: str = "a"
) -> asyncio.Task[NDArray[np.float32]]:
    """Start a request."""
    return asyncio.ensure_future(batcher.compute(token_ids, lane=lane, tenant=tenant))


def firsts(vectors: NDArray[np.float32]) -> list[float]:
    """Say which inputs these are the vectors of."""
    return [float(vector[0]) for vector in vectors]


async def test_rows_come_back_in_order_whatever_ran_together() -> None:
    """Many requests of many lengths share passes, and each gets its own rows in its order."""
    random = np.random.default_rng(3)
    requests = [
        [random.integers(1, 99, random.integers(1, 40)).astype(np.int32) for _ in range(size)]
        for size in (1, 7, 30, 2, 60)
    ]
    async with Batcher(SteppedRuntime(2, permits=1000), LIMITS) as batcher:
        lanes = [Lane.BULK, Lane.INTERACTIVE]
        results = await asyncio.gather(
            *(submit(batcher, request, lanes[i % 2]) for i, request in enumerate(requests))
        )
        assert batcher.counts.inputs == 100
        assert batcher.counts.passes < 100
    for request, result in zip(requests, results, strict=True):
        expected = [[ids[0], ids.sum(), len(ids)] for ids in request]
        np.testing.assert_array_equal(result, np.array(expected, np.float32))


async def test_passes_are_formed_while_the_runtime_is_busy(runtime: SteppedRuntime) -> None:
    """The first input runs at once, alone; those that come meanwhile run together."""
    async with Batcher(runtime, LIMITS) as batcher:
        first = submit(batcher, inputs(1))
        assert await runtime.wait_for_pass() == [1]
        others = [submit(batcher, inputs(i)) for i in (2, 3, 4)]
        runtime.allow(2)
        await asyncio.gather(first, *others)
        assert sorted(await runtime.wait_for_pass()) == [2, 3, 4]


async def test_requests_of_one_moment_share_a_pass(runtime: SteppedRuntime) -> None:
    """Requests that arrive in the same turn of the loop are not run one by one."""
    async with Batcher(runtime, LIMITS) as batcher:
        together = [submit(batcher, inputs(i)) for i in (1, 2, 3)]
        assert sorted(await runtime.wait_for_pass()) == [1, 2, 3]
        runtime.allow()
        await asyncio.gather(*together)


async def test_idle_slots_share_the_work() -> None:
    """A request that one pass could hold is spread over the passes that could start now."""
    runtime = SteppedRuntime(2, permits=2)
    limits = QueueLimits(max_pass_tokens=512, max_pending_tokens=9999, max_pending_inputs=99)
    async with Batcher(runtime, limits) as batcher:
        await submit(batcher, inputs(*range(1, 17), tokens=16))
        passes = [await runtime.wait_for_pass(), await runtime.wait_for_pass()]
    assert sorted(map(len, passes)) == [8, 8]


async def test_interactive_work_overtakes_bulk_work(runtime: SteppedRuntime) -> None:
    """A question that comes later runs before bulk work that waits, but not in one pass with it."""
    async with Batcher(runtime, LIMITS) as batcher:
        running = submit(batcher, inputs(1))
        await runtime.wait_for_pass()
        bulk = submit(batcher, inputs(2, 3))
        question = submit(batcher, inputs(9), Lane.INTERACTIVE)
        runtime.allow(3)
        await asyncio.gather(running, bulk, question)
        assert await runtime.wait_for_pass() == [9]
        assert await runtime.wait_for_pass() == [2, 3]


async def test_bulk_work_is_not_starved(runtime: SteppedRuntime) -> None:
    """Among endless questions, bulk work gets its turn."""
    async with Batcher(runtime, LIMITS) as batcher:
        running = submit(batcher, inputs(99))
        await runtime.wait_for_pass()
        bulk = submit(batcher, inputs(50))
        questions = [submit(batcher, inputs(i, tokens=64), Lane.INTERACTIVE) for i in range(1, 9)]
        runtime.allow(10)
        await asyncio.gather(running, bulk, *questions)
        order = [(await runtime.wait_for_pass())[0] for _ in range(9)]
        assert order == [1, 2, 3, 4, 50, 5, 6, 7, 8]


async def test_full_lane_refuses_and_says_when_to_return(runtime: SteppedRuntime) -> None:
    """Work above the bound is refused at once, with a time, and the other lane stays open."""
    async with Batcher(runtime, TIGHT) as batcher:
        accepted = [submit(batcher, inputs(1))]
        await runtime.wait_for_pass()
        accepted += [submit(batcher, inputs(2, tokens=60)) for _ in range(2)]
        await asyncio.wait(accepted, timeout=0)
        assert batcher.pending_tokens == 120
        with pytest.raises(Overloaded, match="try again in") as refusal:
            await batcher.compute(inputs(3), lane=Lane.BULK, tenant="a")
        assert 1 <= refusal.value.retry_after_s <= 60
        assert batcher.counts.refused_requests == 1
        question = submit(batcher, inputs(4), Lane.INTERACTIVE)
        runtime.allow(9)
        await asyncio.gather(*accepted, question)


async def test_many_small_inputs_fill_a_lane_too(runtime: SteppedRuntime) -> None:
    """The number of waiting inputs is bounded, however short they are."""
    async with Batcher(runtime, TIGHT) as batcher:
        accepted = [submit(batcher, inputs(1))]
        await runtime.wait_for_pass()
        accepted.append(submit(batcher, inputs(*range(2, 12), tokens=1)))
        await asyncio.wait(accepted, timeout=0)
        with pytest.raises(Overloaded):
            await batcher.compute(inputs(3, tokens=1), lane=Lane.BULK, tenant="a")
        runtime.allow(9)
        await asyncio.gather(*accepted)


async def test_one_large_request_is_served() -> None:
    """A request is never refused for its own size, only for what waits before it."""
    async with Batcher(SteppedRuntime(permits=9999), TIGHT) as batcher:
        vectors = await batcher.compute(inputs(*range(1, 10_001)), lane=Lane.BULK)
    assert firsts(vectors) == [float(i) for i in range(1, 10_001)]


async def test_work_of_a_caller_that_left_is_not_run(runtime: SteppedRuntime) -> None:
    """A cancelled request leaves the queue at once, and its inputs never reach the runtime."""
    async with Batcher(runtime, LIMITS) as batcher:
        running = submit(batcher, inputs(1))
        await runtime.wait_for_pass()
        left, stays = submit(batcher, inputs(2, 3)), submit(batcher, inputs(4))
        await asyncio.wait([left, stays], timeout=0)
        left.cancel()
        await asyncio.wait([left])
        assert (batcher.pending_inputs, batcher.pending_tokens) == (1, 4)
        runtime.allow(2)
        await asyncio.gather(running, stays)
        assert await runtime.wait_for_pass() == [4]


async def test_caller_that_leaves_during_its_pass_harms_nobody(runtime: SteppedRuntime) -> None:
    """A result that nobody waits for any more is dropped; the others in its pass get theirs."""
    async with Batcher(runtime, LIMITS) as batcher:
        left, stays = submit(batcher, inputs(1)), submit(batcher, inputs(2))
        await runtime.wait_for_pass()
        left.cancel()
        runtime.allow()
        assert firsts(await stays) == [2.0]


async def test_failing_input_fails_only_its_own_request() -> None:
    """Of the requests in a failing pass, those whose inputs run alone are served."""
    async with Batcher(SteppedRuntime(permits=99), LIMITS) as batcher:
        good, bad, fine = (submit(batcher, inputs(*ids)) for ids in ((1,), (2, POISON), (3,)))
        with pytest.raises(Internal, match="failed on this input"):
            await bad
        assert firsts(await good) + firsts(await fine) == [1.0, 3.0]
        assert batcher.counts.failed_passes == 1
        assert firsts(await submit(batcher, inputs(4))) == [4.0]


async def test_rest_of_a_failed_request_is_not_run(runtime: SteppedRuntime) -> None:
    """After one of its inputs failed, the waiting rest of a request is dropped."""
    async with Batcher(runtime, LIMITS) as batcher:
        request = submit(batcher, inputs(POISON, 2, tokens=64))
        await runtime.wait_for_pass()
        runtime.allow()
        with pytest.raises(Internal):
            await request
        following = submit(batcher, inputs(3))
        assert await runtime.wait_for_pass() == [3]
        runtime.allow()
        await following


async def test_vector_that_is_not_finite_is_an_error() -> None:
    """Numbers that are no numbers are never given to a caller."""
    async with Batcher(SteppedRuntime(permits=99), LIMITS) as batcher:
        with pytest.raises(Internal, match="not finite"):
            await batcher.compute(inputs(-1), lane=Lane.BULK)


async def test_nothing_gives_nothing(runtime: SteppedRuntime) -> None:
    """An empty request needs no pass."""
    async with Batcher(runtime, LIMITS) as batcher:
        assert (await batcher.compute([], lane=Lane.BULK)).shape == (0, 3)


async def test_leaving_finishes_what_waits(runtime: SteppedRuntime) -> None:
    """On the way out, pending requests are served, and new ones are refused."""
    async with Batcher(runtime, LIMITS) as batcher:
        pending = [submit(batcher, inputs(i, tokens=64)) for i in (1, 2, 3)]
        await runtime.wait_for_pass()
        runtime.allow(3)
    assert [firsts(await request) for request in pending] == [[1.0], [2.0], [3.0]]
    with pytest.raises(UpstreamUnavailable):
        await batcher.compute(inputs(4), lane=Lane.BULK)


async def test_leaving_finishes_what_has_just_arrived() -> None:
    """A request that was accepted in the very turn in which the block is left is served."""
    async with Batcher(SteppedRuntime(permits=1), LIMITS) as batcher:
        request = submit(batcher, inputs(1))
        await asyncio.sleep(0)  # one turn: the request is in the queue, no pass has begun
        assert batcher.pending_inputs == 1
    assert firsts(await request) == [1.0]


async def test_leaving_by_a_failure_fails_what_waits(runtime: SteppedRuntime) -> None:
    """When the block fails, nobody is left waiting: what has not begun fails at once."""
    requests: list[asyncio.Task[NDArray[np.float32]]] = []

    async def fail_inside() -> None:
        async with Batcher(runtime, LIMITS) as batcher:
            requests.extend(submit(batcher, inputs(i, tokens=64)) for i in (1, 2))
            await runtime.wait_for_pass()
            runtime.allow()
            raise LookupError

    with pytest.raises(LookupError):
        await fail_inside()
    began, waited = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(began, np.ndarray)
    assert isinstance(waited, UpstreamUnavailable)


async def test_counts_tell_the_padding() -> None:
    """What was computed in vain can be told from the counts."""
    async with Batcher(SteppedRuntime(permits=9), LIMITS) as batcher:
        await batcher.compute(inputs(1, tokens=5), lane=Lane.BULK)
        counts = batcher.counts
        assert (counts.passes, counts.inputs, counts.tokens, counts.padded_tokens) == (1, 1, 5, 8)
        assert counts.busy_s > 0


@pytest.mark.parametrize("lane", Lane)
async def test_tenants_of_a_lane_take_turns(runtime: SteppedRuntime, lane: Lane) -> None:
    """Who comes later with little is not behind all that another tenant sent before."""
    async with Batcher(runtime, LIMITS) as batcher:
        running = submit(batcher, inputs(99), lane)
        await runtime.wait_for_pass()
        many = submit(batcher, inputs(1, 2, 3, 4, tokens=64), lane, "many")
        few = submit(batcher, inputs(11, tokens=64), lane, "few")
        runtime.allow(6)
        await asyncio.gather(running, many, few)
        order = [(await runtime.wait_for_pass())[0] for _ in range(5)]
        assert order == [1, 11, 2, 3, 4]


async def test_tenant_that_fills_a_lane_fills_it_for_itself(runtime: SteppedRuntime) -> None:
    """Nobody is refused for what another one sent; the one who did is."""
    async with Batcher(runtime, TIGHT) as batcher:
        accepted = [submit(batcher, inputs(1), tenant="many")]
        await runtime.wait_for_pass()
        accepted += [submit(batcher, inputs(2, tokens=60), tenant="many") for _ in range(2)]
        await asyncio.wait(accepted, timeout=0)
        with pytest.raises(Overloaded):
            await batcher.compute(inputs(3), lane=Lane.BULK, tenant="many")
        accepted.append(submit(batcher, inputs(4, tokens=49), tenant="few"))
        await asyncio.wait(accepted, timeout=0)
        assert batcher.pending_tokens == 169
        accepted.append(submit(batcher, inputs(5, tokens=9), tenant="few"))
        await asyncio.wait(accepted, timeout=0)
        with pytest.raises(Overloaded):
            await batcher.compute(inputs(6), lane=Lane.BULK, tenant="few")
        runtime.allow(9)
        await asyncio.gather(*accepted)


async def test_work_past_its_deadline_is_not_run(runtime: SteppedRuntime) -> None:
    """When its time is over, a request leaves the queue and fails; the others go on."""
    async with Batcher(runtime, LIMITS) as batcher:
        running = submit(batcher, inputs(1))
        await runtime.wait_for_pass()
        late = asyncio.ensure_future(
            batcher.compute(inputs(2, 3), lane=Lane.BULK, time_left_s=0.01)
        )
        stays = submit(batcher, inputs(4))
        with pytest.raises(DeadlineExceeded, match="in the queue"):
            await late
        assert batcher.pending_inputs == 1
        runtime.allow(2)
        await asyncio.gather(running, stays)
        assert await runtime.wait_for_pass() == [4]
        assert batcher.counts.lanes[Lane.BULK].expired_requests == 1


async def test_work_in_time_is_not_disturbed_by_its_deadline() -> None:
    """A request that is done before its deadline gets its vectors."""
    async with Batcher(SteppedRuntime(permits=1), LIMITS) as batcher:
        vectors = await batcher.compute(inputs(1), lane=Lane.BULK, time_left_s=PATIENCE_S)
    assert firsts(vectors) == [1.0]


async def test_hopeless_work_is_refused_at_once() -> None:
    """What cannot be done in the time that is left is not even begun."""
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 1.0
        return now_s

    async with Batcher(SteppedRuntime(permits=9), LIMITS, clock=clock) as batcher:
        await batcher.compute(inputs(1, tokens=40), lane=Lane.BULK, time_left_s=60)
        for time_left_s in (0.0, -1.0, 0.4):  # 40 tokens a second were measured
            with pytest.raises(DeadlineExceeded, match="cannot be embedded"):
                await batcher.compute(inputs(2, tokens=40), lane=Lane.BULK, time_left_s=time_left_s)
        await batcher.compute(inputs(3, tokens=40), lane=Lane.BULK, time_left_s=60)
        assert batcher.counts.inputs == 2


async def test_pass_that_does_not_fit_is_split_once() -> None:
    """Two halves are tried where the whole has too little memory; everybody is served."""
    runtime = SteppedRuntime(permits=99)
    runtime.max_rows = 4
    async with Batcher(runtime, LIMITS) as batcher:
        requests = [submit(batcher, inputs(i)) for i in range(1, 8)]
        assert [firsts(each) for each in await asyncio.gather(*requests)] == [
            [float(i)] for i in range(1, 8)
        ]
        assert batcher.counts.split_passes == 1
    assert [len(await runtime.wait_for_pass()) for _ in range(3)] == [7, 4, 3]


async def test_half_that_does_not_fit_either_says_so() -> None:
    """After one split, the caller is asked to come back; nothing is tried for ever."""
    runtime = SteppedRuntime(permits=99)
    runtime.max_rows = 3
    async with Batcher(runtime, LIMITS) as batcher:
        requests = [submit(batcher, inputs(i)) for i in range(1, 8)]
        results = await asyncio.gather(*requests, return_exceptions=True)
    assert [isinstance(result, Overloaded) for result in results] == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("Exception: Failed to allocate 3 bytes"), True),
        (RuntimeError("in another process: MemoryError: Unable to allocate 2.00 GiB"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_lack_of_memory_is_recognised(error: Exception, is_memory: bool) -> None:
    """Also where a runtime has wrapped it in an error of ours."""
    wrapped = Internal("the network failed")
    wrapped.__cause__ = error
    assert is_out_of_memory(error) is is_out_of_memory(wrapped) is is_memory


async def test_counts_tell_what_each_lane_did() -> None:
    """Waiting, computing and sizes can be told by lane."""
    async with Batcher(SteppedRuntime(permits=9), LIMITS) as batcher:
        await batcher.compute(inputs(1, 2, tokens=5), lane=Lane.INTERACTIVE)
        lane, other = batcher.counts.lanes[Lane.INTERACTIVE], batcher.counts.lanes[Lane.BULK]
    assert (lane.requests, lane.inputs, lane.tokens, lane.padded_tokens) == (1, 2, 10, 16)
    assert sum(lane.waits_s.counts) == sum(lane.pass_times_s.counts) == 1
    assert lane.pass_tokens.total == 10
    assert (other.requests, other.tokens, sum(other.waits_s.counts)) == (0, 0, 0)


class LostRuntime(SteppedRuntime):
    """Says of every pass why nobody can run it."""

    def __init__(self, failure: ServiceError) -> None:
        super().__init__(permits=99)
        self.failure = failure
        self.passes = 0

    def forward(self, token_ids: Ids, lengths: Ids) -> NDArray[np.float32]:
        """Fail."""
        self.passes += 1
        raise self.failure


@pytest.mark.parametrize(
    "failure", [Unanswered("no server answers"), Overloaded("all are busy", retry_after_s=7)]
)
async def test_failure_of_no_input_is_not_looked_for(failure: ServiceError) -> None:
    """A pass that nobody could run is not run again input by input; all hear the same."""
    lost = LostRuntime(failure)
    async with Batcher(lost, LIMITS) as batcher:
        requests = [submit(batcher, inputs(first)) for first in (1, 2, 3)]
        for request in requests:
            with pytest.raises(type(failure), match=failure.message):
                await request
    assert lost.passes == 1


class PatientRuntime(SteppedRuntime):
    """Ends a pass for which nobody waits, and keeps what it was told of each."""

    def __init__(self, *, permits: int = 0) -> None:
        super().__init__(permits=permits)
        self.patiences: list[Patience] = []
        self.ended = threading.Event()
        """A pass was ended."""

    def forward_within(
        self, token_ids: Ids, lengths: Ids, patience: Patience
    ) -> NDArray[np.float32]:
        """Compute on the test's word, unless nobody waits any more."""
        self.patiences.append(patience)
        if (token_ids == POISON).any():
            raise RuntimeError("poison")  # at once: the test's word is for the others
        is_over = threading.Event()
        for tell in (is_over.set, self.ended.set, self.allow):
            patience.when_over(tell)
        vectors = self.forward(token_ids, lengths)
        if is_over.is_set():
            raise DeadlineExceeded("nobody waits")
        return vectors


async def test_pass_is_waited_for_until_its_last_deadline() -> None:
    """A runtime is told how long the most patient of a pass's callers waits, be it for ever."""
    runtime = PatientRuntime()
    async with Batcher(runtime, LIMITS, clock=lambda: 100.0) as batcher:
        for times_left_s in ([5.0], [5.0, 9.0, 7.0], [5.0, None]):
            requests = [
                asyncio.ensure_future(
                    batcher.compute(inputs(1), lane=Lane.BULK, time_left_s=time_left_s)
                )
                for time_left_s in times_left_s
            ]
            assert len(await runtime.wait_for_pass()) == len(times_left_s)
            runtime.allow()
            await asyncio.gather(*requests)
    assert [patience.left_s() for patience in runtime.patiences] == [5.0, 9.0, None]


async def test_pass_is_ended_once_nobody_waits_for_it() -> None:
    """One caller that stays keeps a pass going; the last one that leaves ends it."""
    runtime = PatientRuntime()
    async with Batcher(runtime, LIMITS) as batcher:
        leaves, stays = submit(batcher, inputs(1)), submit(batcher, inputs(2))
        assert sorted(await runtime.wait_for_pass()) == [1, 2]
        leaves.cancel()
        await asyncio.wait([leaves])
        assert not runtime.ended.is_set()
        runtime.allow()
        assert firsts(await stays) == [2.0]
        both = [submit(batcher, inputs(first)) for first in (3, 4)]
        await runtime.wait_for_pass()
        for each in both:
            each.cancel()
        await asyncio.wait(both)
        assert runtime.ended.wait(PATIENCE_S)
    counts = batcher.counts
    assert (counts.passes, counts.given_up_passes, counts.failed_passes) == (2, 1, 0)


async def test_failed_request_does_not_hold_its_other_passes() -> None:
    """Who was told of one input's failure waits for none of the others."""
    runtime = PatientRuntime()
    runtime.concurrency = 2
    async with Batcher(runtime, LIMITS) as batcher:
        with pytest.raises(Internal):
            await submit(batcher, inputs(POISON, 1, tokens=64))
        assert runtime.ended.wait(PATIENCE_S)


async def test_pass_that_was_ended_says_nothing_of_speed() -> None:
    """What was never computed is not taken for how fast others can be."""
    runtime, now_s = PatientRuntime(), 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 1.0
        return now_s

    async with Batcher(runtime, LIMITS, clock=clock) as batcher:
        leaves = submit(batcher, inputs(1, tokens=400))
        await runtime.wait_for_pass()
        leaves.cancel()
        runtime.allow()
        await batcher.compute(inputs(2, tokens=40), lane=Lane.BULK)
        assert batcher.counts.given_up_passes == 1
        with pytest.raises(DeadlineExceeded, match="cannot be embedded"):
            await batcher.compute(inputs(3, tokens=40), lane=Lane.BULK, time_left_s=0.4)
