"""Weights that operators load and unload while a server runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from milvane.apis.management.ports import WeightsStanding, WeightsState
from milvane.bootstrap.condition import Reason
from milvane.bootstrap.engines import Engines, Loaded, LoadedContents, LoadedTexts
from milvane.bootstrap.loading import LoadedWeights
from milvane.bootstrap.weights import PICTURE_WEIGHTS, TEXT_WEIGHTS
from milvane.control_plane.loading import switch_weights
from milvane.control_plane.plane import ControlPlane
from milvane.control_plane.settings import ControlSettings
from milvane.domain.catalogue import WeightsName
from milvane.domain.errors import Conflict, StillLoading, UpstreamUnavailable
from milvane.metering.recorder import UsageRecorder
from milvane.metering.settings import MeteringSettings
from milvane.serving.embedding import EmbeddingService, EmbedRequest
from milvane.serving.settings import ServingSettings
from milvane.storage.database import Database
from milvane.storage.settings import StorageSettings
from milvane.testing.engines import CountingWeigher, HashingEngine
from offices import FakeClock

NAME = TEXT_WEIGHTS
ASKED = EmbedRequest("text-embedding-v4", ["a", "b"])


class RunningEngine(HashingEngine):
    """An engine that has ended when its context has."""

    weighs_terms = False
    is_over = False

    def trouble(self) -> str | None:
        """Find none."""
        return None


@dataclass
class Seeing:
    """Weights that see, beside those for texts."""

    texts: RunningEngine


async def ready(loaded: Loaded) -> Loaded:
    """Be loaded already."""
    return loaded


@dataclass
class Bench:
    """A server's weights, the control plane that they follow, and who uses them."""

    plane: ControlPlane
    engines: Engines = field(default_factory=Engines)
    reasons: list[Reason] = field(default_factory=list)
    opened: list[RunningEngine] = field(default_factory=list)
    failure: Conflict | None = None
    has_pictures: bool = False
    may_open: asyncio.Event | None = None
    """What loading waits for, if for anything."""

    @property
    def service(self) -> EmbeddingService:
        """The use case."""
        return EmbeddingService(self.engines.texts, ServingSettings(), loading=self.engines.loading)

    @asynccontextmanager
    async def load(
        self, name: WeightsName, beside: Awaitable[Loaded] | None = None
    ) -> AsyncIterator[Loaded]:
        """Load an engine, unless it is to fail; those that see go with another one."""
        if name == PICTURE_WEIGHTS:
            assert beside is not None
            seeing = Seeing((await beside).engine)
            yield LoadedContents(seeing)
            assert not seeing.texts.is_over
            return
        assert name == NAME
        if self.may_open is not None:
            await self.may_open.wait()
        if self.failure is not None:
            raise self.failure
        engine = RunningEngine()
        self.opened.append(engine)
        yield LoadedTexts(engine, CountingWeigher())
        engine.is_over = True

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[LoadedWeights]:
        """Begin as a server does, and follow."""
        weights = LoadedWeights(self.load, self.engines, self.reasons, self.plane, abortable={NAME})
        stack, seeing = AsyncExitStack(), AsyncExitStack()
        texts = await stack.enter_async_context(self.load(NAME))
        weights.take(NAME, stack, texts)
        if self.has_pictures:
            beside = self.load(PICTURE_WEIGHTS, ready(texts))
            weights.take(PICTURE_WEIGHTS, seeing, await seeing.enter_async_context(beside))
        async with weights:
            yield weights

    async def switch(self, *, on: bool) -> None:
        """Load or unload, as an operator does."""
        work = partial(switch_weights, weights=NAME, on=on, deployed={NAME})
        await self.plane.change("ann", work)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A control plane of one's own."""
    clock = FakeClock()
    async with (
        Database(StorageSettings(), tmp_path) as database,
        UsageRecorder(database, tmp_path / "usage", MeteringSettings(), clock=clock) as recorder,
        ControlPlane(database, ControlSettings(), recorder, clock=clock) as plane,
    ):
        yield Bench(plane)


async def until(
    weights: LoadedWeights, *states: WeightsState, name: WeightsName = NAME
) -> WeightsStanding:
    """Wait until the weights stand in some way."""
    while (standing := weights.standings[name]).state not in states:  # noqa: ASYNC110 - turns
        await asyncio.sleep(0)
    return standing


async def test_weights_on_their_way_are_told_from_those_that_are_not(bench: Bench) -> None:
    """Who asks meanwhile is to come back soon; not so before, and not after a failure."""
    async with bench.serving() as weights:
        await bench.switch(on=False)
        await until(weights, WeightsState.UNLOADED)
        with pytest.raises(UpstreamUnavailable, match="milvane models load"):
            await bench.service.prepare(ASKED)
        bench.may_open, bench.failure = asyncio.Event(), Conflict("damaged")
        await bench.switch(on=True)
        await until(weights, WeightsState.LOADING)
        with pytest.raises(StillLoading):
            await bench.service.prepare(ASKED)
        bench.may_open.set()
        await until(weights, WeightsState.FAILED)
        with pytest.raises(UpstreamUnavailable, match="milvane models pull"):
            await bench.service.prepare(ASKED)


async def test_end_waits_for_no_weights_that_only_wait(bench: Bench) -> None:
    """A server ends while a server elsewhere does not answer."""
    async with bench.serving() as weights:
        await bench.switch(on=False)
        await until(weights, WeightsState.UNLOADED)
        bench.may_open = asyncio.Event()
        await bench.switch(on=True)
        await until(weights, WeightsState.LOADING)
    assert not bench.engines.texts
    assert not bench.engines.loading


async def test_weights_are_unloaded_when_work_under_way_has_ended(bench: Bench) -> None:
    """What was prepared before is computed; new requests are told what is the case."""
    async with bench.serving() as weights:
        service = bench.service
        prepared = await service.prepare(ASKED)
        await bench.switch(on=False)
        await until(weights, WeightsState.UNLOADING)
        with pytest.raises(UpstreamUnavailable, match=f"milvane models load {NAME}"):
            await service.prepare(ASKED)
        embedded = await service.compute(prepared)
        assert np.linalg.norm(embedded.vectors, axis=1) == pytest.approx([1, 1])
        assert not bench.opened[0].is_over
        del prepared
        await until(weights, WeightsState.UNLOADED)
    assert bench.opened[0].is_over
    assert bench.reasons == []


async def test_weights_are_loaded_again(bench: Bench) -> None:
    """As often as operators like, and are gone with the server."""
    async with bench.serving() as weights:
        for _ in range(2):
            await bench.switch(on=False)
            await until(weights, WeightsState.UNLOADED)
            await bench.switch(on=True)
            await until(weights, WeightsState.LOADED)
            await bench.service.embed(ASKED)
        assert len(bench.reasons) == 1
    assert [engine.is_over for engine in bench.opened] == [True] * 3


async def test_what_was_unloaded_before_the_start_stays_out(bench: Bench) -> None:
    """The wish is the database's, not the process's."""
    await bench.switch(on=False)
    async with bench.serving() as weights:
        await until(weights, WeightsState.UNLOADED)
        assert bench.engines.texts == {}


async def test_weights_that_see_come_after_those_that_they_go_with(bench: Bench) -> None:
    """They go before them, and stay out while those are."""
    bench.has_pictures = True
    async with bench.serving() as weights:
        for _ in range(2):
            assert set(bench.engines.contents) == {PICTURE_WEIGHTS}
            await bench.switch(on=False)
            await until(weights, WeightsState.UNLOADED)
            assert weights.standings[PICTURE_WEIGHTS].state is WeightsState.UNLOADED
            assert bench.engines.contents == {}
            await bench.switch(on=True)
            await until(weights, WeightsState.LOADED, name=PICTURE_WEIGHTS)
        assert bench.engines.contents[PICTURE_WEIGHTS].texts is bench.opened[-1]


async def test_weights_that_cannot_be_loaded_say_why(bench: Bench) -> None:
    """The server goes on without them; unloading ends the attempts."""
    async with bench.serving() as weights:
        await bench.switch(on=False)
        await until(weights, WeightsState.UNLOADED)
        bench.failure = Conflict("the file is damaged")
        await bench.switch(on=True)
        assert (await until(weights, WeightsState.FAILED)).trouble == "the file is damaged"
        await bench.switch(on=False)
        await until(weights, WeightsState.UNLOADED)
        bench.failure = None
        await bench.switch(on=True)
        assert (await until(weights, WeightsState.LOADED)).trouble == ""
