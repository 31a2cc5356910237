"""A pass that the machine has no memory for is split, and never answered with another one's."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from checkpoints import VOCABULARY, write_tiny_bert
from milvane.domain.errors import Internal, Overloaded
from milvane.domain.models import Lane
from milvane.inference.batcher import Batcher
from milvane.inference.isolation import IsolatedRuntime
from milvane.inference.passes import QueueLimits

TOKENS = 1024
LIMITS = QueueLimits(
    max_pass_tokens=256 * TOKENS, max_pending_tokens=10**7, max_pending_inputs=10**4
)
SPARE_BYTES = 64 * 1024**2
"""More than it takes to compile the network anew, and less than half of a large pass here."""


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedRuntime]:
    """A network in a process of its own, whose memory can be bounded."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # else each new thread is given 64 MiB more
    write_tiny_bert(tmp_path / "net", positions=TOKENS)
    opened = IsolatedRuntime(tmp_path / "net", threads=1, precision="f32")
    yield opened
    opened.close()


def inputs(count: int, tokens: int, seed: int = 0) -> list[NDArray[np.int32]]:
    """Draw texts of one length, all different."""
    ids = np.random.default_rng(seed).integers(5, len(VOCABULARY), (count, tokens))
    return list(ids.astype(np.int32))


def bound(runtime: IsolatedRuntime) -> None:
    """Let the process grow hardly any more."""
    process = runtime.process.pid
    limit = psutil.Process(process).memory_info().vms + SPARE_BYTES
    resource.prlimit(process, resource.RLIMIT_AS, (limit, limit))


async def test_pass_without_memory_is_split_once(runtime: IsolatedRuntime) -> None:
    """Where halves fit, all get the vectors that they get with plenty of memory."""
    texts, process = inputs(256, TOKENS), runtime.process
    async with Batcher(runtime, LIMITS) as batcher:
        halves = [await batcher.compute(texts[at : at + 128], lane=Lane.BULK) for at in (0, 128)]
        bound(runtime)
        whole = await batcher.compute(texts, lane=Lane.BULK)
        assert (batcher.counts.passes, batcher.counts.split_passes) == (3, 1)
    np.testing.assert_allclose(whole, np.concatenate(halves), atol=1e-5)
    assert runtime.process is process


async def test_pass_without_memory_is_not_answered_with_another_one(
    runtime: IsolatedRuntime,
) -> None:
    """Where halves do not fit either, that is said; and whoever comes next gets their own."""
    small = [inputs(256, 16, seed) for seed in range(3)]
    async with Batcher(runtime, LIMITS) as batcher:
        before = [await batcher.compute(each, lane=Lane.BULK) for each in small]
        bound(runtime)
        for each, expected in zip(small, before, strict=True):
            # As many rows as the pass before: what that left behind would look like an answer.
            with pytest.raises((Overloaded, Internal)):
                await batcher.compute(inputs(256, TOKENS), lane=Lane.BULK)
            found = await batcher.compute(each, lane=Lane.BULK)
            np.testing.assert_allclose(found, expected, atol=1e-5)
