"""What a connection between the gateway and the Lite process promises, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import grpc
import pytest

from milvane.instances.lite.answerer import Answerer, CallEnded
from milvane.instances.lite.caller import Caller
from milvane.instances.lite.frames import Metadata
from milvane.instances.upstream import ConnectionLost, UpstreamStatus

LONG = 8 * 1024 * 1024


@dataclass
class Peer:
    """Answers by the name of the method, and remembers who came and went."""

    calls: list[tuple[str, bytes, Metadata]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    withdrawn: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, method: str, request: bytes, metadata: Metadata) -> bytes:
        """Do as the method says."""
        self.calls.append((method, request, metadata))
        if method == "wait":
            self.begun.set()
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.withdrawn.set()
                raise
        if method == "refuse":
            raise CallEnded(grpc.StatusCode.NOT_FOUND, "no such thing")
        if method == "fail":
            raise RuntimeError("a defect")
        if method == "grow":
            return bytes(LONG)
        return request[::-1]


@dataclass
class Pair:
    """Both ends."""

    peer: Peer
    answerer: Answerer
    caller: Caller

    async def call(
        self, method: str, request: bytes = b"", *, timeout_s: float | None = None
    ) -> bytes:
        """Make a call."""
        with anyio.fail_after(10):
            return await self.caller.call(
                method, request, metadata=(("dbname", "media"),), timeout_s=timeout_s
            )


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Join a caller and an answerer."""
    peer = Peer()
    answerer = Answerer(peer.answer)
    await answerer.start(tmp_path / "link")
    caller = Caller("target", tmp_path / "link")
    yield Pair(peer, answerer, caller)
    await caller.close()
    await answerer.stop(grace_s=0)


async def test_calls_are_answered_side_by_side(pair: Pair) -> None:
    """Each caller gets the answer to its own request, with metadata passed on."""
    requests = [str(number).encode() for number in range(100)]
    replies = await asyncio.gather(*(pair.call("turn", request) for request in requests))
    assert replies == [request[::-1] for request in requests]
    assert pair.peer.calls[0] == ("turn", b"0", (("dbname", "media"),))
    assert len(pair.answerer.links) == 1


async def test_short_call_passes_beside_long_messages(pair: Pair) -> None:
    """Nobody waits until somebody else's megabytes have gone through, in either direction."""
    order: list[str] = []

    async def make(name: str, method: str, request: bytes = b"") -> bytes:
        reply = await pair.call(method, request)
        order.append(name)
        return reply

    await pair.call("turn", b"open")
    up, down, _ = await asyncio.gather(
        make("up", "turn", bytes(LONG)), make("down", "grow"), make("short", "turn", b"x")
    )
    assert (len(up), len(down)) == (LONG, LONG)
    assert order[0] == "short"


async def test_refusals_are_passed_on(pair: Pair) -> None:
    """A status comes with its code and words, and a defect ends one call only."""
    with pytest.raises(UpstreamStatus, match="no such thing") as caught:
        await pair.call("refuse")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    with pytest.raises(UpstreamStatus, match="a defect") as caught:
        await pair.call("fail")
    assert caught.value.code is grpc.StatusCode.UNKNOWN
    assert await pair.call("turn", b"ab") == b"ba"


async def test_caller_that_goes_away_ends_its_call(pair: Pair) -> None:
    """What nobody waits for is cancelled on the other side."""
    call = asyncio.create_task(pair.call("wait"))
    await pair.peer.begun.wait()
    call.cancel()
    with anyio.fail_after(5):
        await pair.peer.withdrawn.wait()
    assert await pair.call("turn", b"ab") == b"ba"


@pytest.mark.parametrize("timeout_s", [0.0, 0.05])
async def test_deadline_ends_a_call_on_both_sides(pair: Pair, timeout_s: float) -> None:
    """A caller hears that time is up, and the peer stops working for it."""
    with pytest.raises(UpstreamStatus) as caught:
        await pair.call("wait", timeout_s=timeout_s)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    with anyio.fail_after(5):
        await pair.peer.withdrawn.wait()


async def test_calls_fail_when_the_peer_dies(pair: Pair) -> None:
    """Those that were sent may have been carried out; later ones were not."""
    call = asyncio.create_task(pair.call("wait"))
    await pair.peer.begun.wait()
    for link in list(pair.answerer.links):
        link.close()
    with pytest.raises(ConnectionLost) as caught:
        await call
    assert caught.value.was_sent
    assert await pair.call("turn", b"ab") == b"ba"


async def test_call_to_nobody_was_not_sent(tmp_path: Path) -> None:
    """Where nobody listens, nothing has happened, and a write may be tried again."""
    caller = Caller("target", tmp_path / "nobody")
    with pytest.raises(ConnectionLost) as caught:
        await caller.call("turn", b"", metadata=(), timeout_s=1)
    assert not caught.value.was_sent


async def test_peer_that_stops_ends_what_runs_and_takes_nothing_new(pair: Pair) -> None:
    """Running calls are answered, and a new one hears that it was not begun."""
    running = asyncio.create_task(pair.call("wait", b"ab"))
    await pair.peer.begun.wait()
    stopping = asyncio.create_task(pair.answerer.stop(grace_s=10))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionLost) as caught:
        await pair.call("turn")
    assert not caught.value.was_sent
    pair.peer.go_on.set()
    assert await running == b"ba"
    await stopping
    assert not pair.answerer.links or all(not link.is_open for link in pair.answerer.links)


async def test_too_long_a_request_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    """Such a call fails as it would through gRPC, without a connection."""
    caller = Caller("target", tmp_path / "nobody", max_message_bytes=1000)
    with pytest.raises(UpstreamStatus, match="1001 bytes") as caught:
        await caller.call("turn", bytes(1001), metadata=(), timeout_s=1)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
