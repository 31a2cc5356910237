"""An engine whose network runs elsewhere gives the vectors of one whose network runs here."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from checkpoints import WIDTH
from milvane.domain.errors import (
    Conflict,
    DeadlineExceeded,
    UpstreamRejected,
    UpstreamUnavailable,
)
from milvane.domain.models import Lane, Purpose
from milvane.inference.engine import Engine, open_engine
from milvane.inference.installed import find_set
from milvane.inference.remote.settings import DialectName, RemoteSettings
from milvane.inference.self_test import GOLDEN_NAME
from milvane.inference.settings import InferenceSettings
from milvane.testing.provider_servers import Reply
from replicas import Hold, Net, ReplicaServer

TEXTS = ["the cat sat on the mat", "the dog ran far away", "a", "猫", "", "dogs and cats", "z z z"]
LONG = "the cat sat on the mat and the dog ran far away " * 9
HERE = InferenceSettings(precision="f32", threads=1)


@pytest.fixture
def net(tmp_path: Path) -> Net:
    """A tiny network in a folder with everything."""
    return Net(tmp_path / "whole")


@pytest.fixture
def bare(net: Net, tmp_path: Path) -> Path:
    """The same folder without the tensors."""
    folder = tmp_path / "bare"
    shutil.copytree(net.folder, folder)
    (folder / "model.safetensors").unlink()
    return folder


def elsewhere(folder: Path, *servers: ReplicaServer, dialect: DialectName) -> RemoteSettings:
    """Settings of these servers."""
    urls = tuple(server.url for server in servers)
    return RemoteSettings(urls=urls, dialect=dialect, weights=str(folder), precision="f32")


async def vectors(
    engine: Engine, texts: Sequence[str], *, time_left_s: float | None = None
) -> NDArray[np.float32]:
    """Embed documents."""
    ids = await engine.tokenize(texts, purpose=Purpose.DOCUMENT)
    return await engine.embed(ids, dimension=WIDTH, lane=Lane.BULK, time_left_s=time_left_s)


@pytest.mark.parametrize("dialect", ["vllm", "tei", "infinity", "openai"])
async def test_vectors_are_those_of_the_network_here(
    net: Net, bare: Path, dialect: DialectName
) -> None:
    """Every dialect gives the same vectors, without the tensors being here."""
    texts = [*TEXTS, LONG] if dialect == "vllm" else [text for text in TEXTS if text != "猫"]
    async with open_engine(find_set(str(net.folder), bare), bare, HERE) as here:
        expected = await vectors(here, texts)
    with ReplicaServer(net) as one, ReplicaServer(net) as two:
        remote = elsewhere(bare, one, two, dialect=dialect)
        async with open_engine(find_set(str(bare), bare), bare, HERE, remote) as there:
            found = await vectors(there, texts)
            assert there.facts.runtime == f"{dialect} at {one.url}, {two.url}"
            assert there.trouble() is None
    assert np.einsum("ij,ij->i", found, expected).min() >= 0.9999


async def test_engine_with_the_same_files_has_the_same_fingerprint(net: Net) -> None:
    """Vectors of both sides may stand in one collection."""
    weights = find_set(str(net.folder), net.folder)
    async with open_engine(weights, net.folder, HERE) as here:
        fingerprint = here.fingerprint
    with ReplicaServer(net) as server:
        remote = elsewhere(net.folder, server, dialect="vllm")
        async with open_engine(weights, net.folder, HERE, remote) as there:
            assert there.fingerprint == fingerprint


@pytest.mark.parametrize("dialect", ["vllm", "tei"])
async def test_server_with_another_network_is_refused(
    net: Net, tmp_path: Path, dialect: DialectName
) -> None:
    """The vectors of the first load tell that a server runs something else."""
    weights = find_set(str(net.folder), net.folder)
    async with open_engine(weights, net.folder, HERE):
        assert (net.folder / GOLDEN_NAME).is_file()
    with ReplicaServer(Net(tmp_path / "other", seed=9)) as server:
        remote = elsewhere(net.folder, server, dialect=dialect)
        with pytest.raises(Conflict, match="no longer give the vectors of their first load"):
            async with open_engine(weights, net.folder, HERE, remote):
                pass


async def test_refused_text_is_nobody_elses(net: Net, bare: Path) -> None:
    """Of texts that share a request, the one that the server refuses fails alone."""
    with ReplicaServer(net) as server:
        remote = elsewhere(bare, server, dialect="vllm").model_copy(update={"max_concurrent": 1})
        async with open_engine(find_set(str(bare), bare), bare, HERE, remote) as engine:
            server.received.clear()
            server.refuse(lambda ids: 7 in ids, Reply(422, b"not this one"))
            good, bad = await asyncio.gather(
                vectors(engine, ["the cat"]), vectors(engine, ["the dog"]), return_exceptions=True
            )
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, UpstreamRejected)
    assert "not this one" in bad.message
    assert [len(request.body["input"]) for request in server.received] == [2, 1, 1]


async def test_lost_servers_fail_requests_and_not_the_engine(net: Net, bare: Path) -> None:
    """Without a server, every request hears so at once, and readiness says which are lost."""
    with ReplicaServer(net) as server:
        remote = elsewhere(bare, server, dialect="vllm")
        async with open_engine(find_set(str(bare), bare), bare, HERE, remote) as engine:
            server.stop()
            with pytest.raises(UpstreamUnavailable, match="no server that runs these weights"):
                await vectors(engine, TEXTS)
            assert server.url in (engine.trouble() or "")


async def test_window_may_be_shorter_elsewhere(net: Net, bare: Path) -> None:
    """A server that takes less at once gets more and shorter windows."""
    with ReplicaServer(net) as server:
        remote = elsewhere(bare, server, dialect="vllm").model_copy(update={"window_tokens": 8})
        async with open_engine(find_set(str(bare), bare), bare, HERE, remote) as engine:
            await vectors(engine, [LONG])
            assert engine.facts.window_tokens == 8
    lengths = [
        len(ids) for request in server.received for ids in json.loads(request.content)["input"]
    ]
    assert max(lengths) <= 8


async def test_deadline_of_one_caller_is_nobody_elses(net: Net, bare: Path) -> None:
    """Who shares a request with somebody in a hurry gets vectors, however long it takes."""
    with ReplicaServer(net) as server:
        remote = elsewhere(bare, server, dialect="vllm").model_copy(update={"max_concurrent": 1})
        async with open_engine(find_set(str(bare), bare), bare, HERE, remote) as engine:
            expected = await vectors(engine, ["the cat"])
            hold = Hold()
            server.play(hold)
            waits = asyncio.ensure_future(vectors(engine, ["the cat"]))
            with pytest.raises(DeadlineExceeded):
                await vectors(engine, ["the dog"], time_left_s=0.2)
            hold.released.set()
            found = await waits
            assert len(server.received[-1].body["input"]) == 2
            assert not server.abandoned.is_set()
    np.testing.assert_allclose(found, expected, atol=1e-6)


async def test_request_that_nobody_waits_for_is_given_up(net: Net, bare: Path) -> None:
    """When all whose texts are in it have left, or their deadlines passed, the server is free."""
    with ReplicaServer(net) as server:
        remote = elsewhere(bare, server, dialect="vllm").model_copy(update={"max_concurrent": 1})
        async with open_engine(find_set(str(bare), bare), bare, HERE, remote) as engine:
            hold = Hold()
            server.play(hold)
            both = [
                asyncio.ensure_future(vectors(engine, [text], time_left_s=time_left_s))
                for text, time_left_s in (("the cat", None), ("the dog", 0.2))
            ]
            assert await asyncio.to_thread(hold.asked.wait, 10)
            with pytest.raises(DeadlineExceeded):
                await both[1]
            both[0].cancel()
            assert await asyncio.to_thread(server.abandoned.wait, 10)
            assert (await vectors(engine, ["the cat"])).shape == (1, WIDTH)
            assert (engine.counts.given_up_passes, engine.counts.failed_passes) == (1, 0)
