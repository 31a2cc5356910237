"""The cache: each vector is computed once, also by requests at the same time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from milvane.domain.callers import Caller
from milvane.domain.errors import Internal
from milvane.domain.models import Lane
from milvane.serving.caching.cache import Fetched, VectorCache, open_cache
from milvane.serving.caching.forms import DenseForm
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.callers import calling

FORM = DenseForm(2)
ROOMY = CacheSettings()
NO_MEMORY = CacheSettings(max_memory_bytes=0)


class Work:
    """Computes the number in a text, and its square; waits for the test's word if told to."""

    def __init__(self, *, waits: bool = False) -> None:
        self.computed: list[str] = []
        """Texts in the order in which they were computed."""
        self.may_go_on = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.fails_on: str | None = None
        if not waits:
            self.may_go_on.set()

    async def fetch(
        self,
        cache: VectorCache,
        texts: Sequence[str],
        lane: Lane = Lane.BULK,
        cheap: Sequence[int] = (),
    ) -> Fetched[Any]:
        """Ask a cache for the vectors of texts."""

        async def compute(positions: list[int]) -> NDArray[np.float32]:
            chosen = [texts[position] for position in positions]
            self.has_begun.set()
            await self.may_go_on.wait()
            if self.fails_on in chosen:
                raise Internal("cannot")
            self.computed += chosen
            return np.array([[float(text), float(text) ** 2] for text in chosen], np.float32)

        keys = cache.keys_of("engine", [text.encode() for text in texts])
        return await cache.fetch(keys, compute, FORM, lane, cheap=cheap)


def numbers(fetched: Fetched[Any]) -> list[float]:
    """Say of which texts these are the vectors."""
    assert fetched.vectors[:, 1].tolist() == [row**2 for row in fetched.vectors[:, 0].tolist()]
    return fetched.vectors[:, 0].tolist()


async def test_vector_is_computed_once() -> None:
    """What was computed is found again, in any order and among others."""
    cache, work = VectorCache(ROOMY), Work()
    first = await work.fetch(cache, ["1", "2"])
    second = await work.fetch(cache, ["3", "2", "1"])
    assert numbers(first) + numbers(second) == [1, 2, 3, 2, 1]
    assert first.was_kept + second.was_kept == [False, False, False, True, True]
    assert work.computed == ["1", "2", "3"]
    assert (cache.counts.memory, cache.counts.computed) == (2, 3)


async def test_equal_keys_of_one_request_are_computed_once() -> None:
    """Different texts of the same tokens cost one vector, which both get."""
    work = Work()
    fetched = await work.fetch(VectorCache(NO_MEMORY), ["1", "2", "1"])
    assert (numbers(fetched), work.computed) == ([1, 2, 1], ["1", "2"])
    assert fetched.was_kept == [False, False, True]


async def test_nothing_is_found_without_a_request() -> None:
    """An empty request gets an empty answer of the right width."""
    assert (await Work().fetch(VectorCache(ROOMY), [])).vectors.shape == (0, 2)


async def test_requests_at_the_same_time_share_the_work() -> None:
    """A text that is being computed is waited for, even if nothing is kept."""
    cache, work = VectorCache(NO_MEMORY), Work(waits=True)
    first = asyncio.ensure_future(work.fetch(cache, ["1", "2"]))
    await work.has_begun.wait()
    second = asyncio.ensure_future(work.fetch(cache, ["2", "3"]))
    await asyncio.wait([second], timeout=0)
    work.may_go_on.set()
    assert numbers(await first) + numbers(await second) == [1, 2, 2, 3]
    assert sorted(work.computed) == ["1", "2", "3"]
    assert (await second).was_kept == [True, False]
    assert cache.counts.joined == 1


async def test_caller_that_leaves_takes_nobody_along() -> None:
    """When the one who computes leaves, a waiting request computes for itself."""
    cache, work = VectorCache(ROOMY), Work(waits=True)
    left = asyncio.ensure_future(work.fetch(cache, ["1"]))
    await work.has_begun.wait()
    stays = [asyncio.ensure_future(work.fetch(cache, ["1"])) for _ in range(3)]
    await asyncio.wait(stays, timeout=0)
    left.cancel()
    work.may_go_on.set()
    assert [numbers(each) for each in await asyncio.gather(*stays)] == [[1.0]] * 3
    assert work.computed == ["1"]


async def test_failure_is_its_own_requests() -> None:
    """A text that fails in one request fails another one only if that asks for it too."""
    cache, work = VectorCache(ROOMY), Work(waits=True)
    work.fails_on = "2"
    bad = asyncio.ensure_future(work.fetch(cache, ["1", "2"]))
    await work.has_begun.wait()
    good = asyncio.ensure_future(work.fetch(cache, ["1"]))
    as_bad = asyncio.ensure_future(work.fetch(cache, ["2"]))
    await asyncio.wait([good, as_bad], timeout=0)
    work.may_go_on.set()
    for failing in (bad, as_bad):
        with pytest.raises(Internal):
            await failing
    assert numbers(await good) == [1.0]


async def test_person_does_not_wait_for_bulk_work() -> None:
    """Who is in the interactive lane computes what bulk work has not finished."""
    cache, slow, quick = VectorCache(ROOMY), Work(waits=True), Work()
    bulk = asyncio.ensure_future(slow.fetch(cache, ["1"]))
    await slow.has_begun.wait()
    assert numbers(await quick.fetch(cache, ["1"], Lane.INTERACTIVE)) == [1.0]
    slow.may_go_on.set()
    await bulk
    assert slow.computed == quick.computed == ["1"]


async def test_bulk_work_waits_for_a_person() -> None:
    """The other way round, the vector is shared."""
    cache, work = VectorCache(NO_MEMORY), Work(waits=True)
    person = asyncio.ensure_future(work.fetch(cache, ["1"], Lane.INTERACTIVE))
    await work.has_begun.wait()
    bulk = asyncio.ensure_future(work.fetch(cache, ["1"]))
    await asyncio.wait([bulk], timeout=0)
    work.may_go_on.set()
    await asyncio.gather(person, bulk)
    assert work.computed == ["1"]


@pytest.mark.parametrize(("is_shared", "computed"), [(False, 2), (True, 1)])
async def test_tenants_share_vectors_only_if_told_so(is_shared: bool, computed: int) -> None:
    """A tenant cannot learn from the time of an answer what another one embedded."""
    cache = VectorCache(CacheSettings(share_between_tenants=is_shared))
    work = Work()
    for tenant in ("a", "b"):
        with calling(Caller(name="x", tenant=tenant)):
            await work.fetch(cache, ["1"])
    assert len(work.computed) == computed


async def test_vector_of_another_form_is_not_used() -> None:
    """Were a key ever to stand for a vector of another width, it would be computed."""
    cache, work = VectorCache(ROOMY), Work()
    (key,) = cache.keys_of("engine", [b"1"])
    cache.memory.put(key, b"four")
    assert numbers(await work.fetch(cache, ["1"])) == [1.0]


async def test_vectors_outlive_the_process_unless_they_are_cheap(tmp_path: Path) -> None:
    """What was kept on the disk is found by the next process; the rest is computed again."""
    for expected in ([False, False, False], [True, False, True]):
        async with open_cache(ROOMY, tmp_path) as cache:
            assert cache is not None
            assert cache.disk is not None
            await cache.disk.settled()
            fetched = await Work().fetch(cache, ["1", "2", "3"], cheap=[1])
            assert (numbers(fetched), fetched.was_kept) == ([1, 2, 3], expected)
    assert (cache.counts.disk, cache.counts.computed) == (2, 1)


async def test_cache_can_be_turned_off(tmp_path: Path) -> None:
    """Nothing is kept, or nothing on the disk."""
    async with open_cache(CacheSettings(enabled=False), tmp_path) as cache:
        assert cache is None
    async with open_cache(CacheSettings(max_disk_bytes=0), tmp_path) as cache:
        assert cache is not None
        assert cache.disk is None
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - of nothing else in the loop
