"""A network in a process of its own computes the same, and its crash is nobody else's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from checkpoints import install_tiny_bert
from milvane.domain.errors import Conflict, Internal, UpstreamUnavailable
from milvane.domain.models import Lane, Purpose
from milvane.inference.encoders.recipe import read_recipe
from milvane.inference.engine import open_engine
from milvane.inference.isolation import MAX_WAIT_S, IsolatedRuntime, pause_before_start_s
from milvane.inference.runtimes.opening import open_runtime
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import folder_of

IDS = np.array([[1, 5, 6, 2], [1, 7, 2, 0]], np.int32)
LENGTHS = np.array([4, 3], np.int32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of a tiny network."""
    return folder_of(install_tiny_bert(tmp_path), tmp_path)


@pytest.fixture
def runtime(folder: Path) -> Iterator[IsolatedRuntime]:
    """A tiny network in a process of its own, which ends with the test."""
    opened = IsolatedRuntime(folder, threads=1, precision="f32")
    yield opened
    opened.close()
    assert opened.process.poll() is not None


def test_isolated_network_computes_the_same(runtime: IsolatedRuntime, folder: Path) -> None:
    """Vectors and facts are those of the network in this process."""
    here = open_runtime(folder, read_recipe(folder), threads=1, precision="f32")
    np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), here.forward(IDS, LENGTHS))
    facts = ("precision", "threads", "width", "max_tokens", "weighs_tokens", "concurrency", "packs")
    assert [getattr(runtime, fact) for fact in facts] == [getattr(here, fact) for fact in facts]
    assert runtime.name.startswith(here.name)
    here.close()


def test_crash_fails_one_pass_and_no_more(runtime: IsolatedRuntime) -> None:
    """The process is started again, and the next pass gives what it gave before."""
    before = runtime.forward(IDS, LENGTHS)
    crashed = runtime.process
    crashed.kill()
    with suppress(UpstreamUnavailable):  # unless it is there again already
        runtime.forward(IDS, LENGTHS)
    assert runtime.process is not crashed
    np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), before)


def test_process_that_ends_is_started_again_by_itself(runtime: IsolatedRuntime) -> None:
    """A crash while nobody asks is over before somebody does; until then readiness tells of it."""
    before = runtime.forward(IDS, LENGTHS)
    crashed = runtime.process
    assert runtime.trouble() is None
    crashed.kill()
    crashed.wait()
    troubles = set()
    until_s = time.monotonic() + 60
    while runtime.process is crashed or runtime.trouble():
        troubles.add(runtime.trouble())
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert any(troubles)
    np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), before)


def test_failure_that_is_no_crash_is_said(runtime: IsolatedRuntime) -> None:
    """What the network cannot run is an error of that pass, and the process goes on."""
    process = runtime.process
    with pytest.raises(Internal, match="the network failed"):
        runtime.forward(IDS, LENGTHS[:1])
    assert runtime.process is process
    assert runtime.forward(IDS, LENGTHS).shape == (2, runtime.width)


def test_network_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    """The process's last words are those of the error."""
    with pytest.raises(Conflict, match=r"cannot start: .*config"):
        IsolatedRuntime(tmp_path, threads=1, precision="f32")


def test_pauses_grow_and_end() -> None:
    """One crash costs no pause; a network that crashes again and again is not hammered."""
    pauses = [pause_before_start_s(crashes) for crashes in range(1, 20)]
    assert pauses[:3] == [0.0, 0.2, 0.4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_WAIT_S


async def test_engine_serves_through_a_crash(tmp_path: Path) -> None:
    """Requests of a pass in which the process dies are computed after its restart."""
    weights = install_tiny_bert(tmp_path)
    settings = InferenceSettings(precision="f32", threads=1, isolated=True, max_pass_tokens=64)
    async with open_engine(weights, tmp_path, settings) as engine:
        ids = await engine.tokenize(["the cat", "the dog", "a"], purpose=Purpose.DOCUMENT)
        before = await engine.embed(ids, dimension=32, lane=Lane.BULK)
        pid = int(engine.facts.runtime.rpartition(" ")[2])
        os.kill(pid, signal.SIGKILL)
        after = await engine.embed(ids, dimension=32, lane=Lane.BULK)
        assert engine.counts.failed_passes <= 1
    np.testing.assert_allclose(before, after, atol=1e-6)
