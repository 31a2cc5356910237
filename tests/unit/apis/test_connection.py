"""Work ends when nobody waits for it."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from milvane.apis.connection import HANG_UP, run_while_connected, time_left_s


class Channel:
    """A request's channel whose caller hangs up on demand."""

    def __init__(self) -> None:
        self.hung_up = asyncio.Event()
        self.closed = False

    @property
    def request(self) -> Request:
        """The request, on a server that tells of a hang-up in its channel alone."""
        return Request({"type": "http"}, self.receive)

    async def receive(self) -> Message:
        """Wait for the caller to hang up."""
        try:
            await self.hung_up.wait()
        except asyncio.CancelledError:
            self.closed = True
            raise
        return {"type": "http.disconnect"}


async def test_result_is_returned_and_the_channel_left_alone() -> None:
    """Work that ends first gives its result, and nobody listens to the channel any more."""
    channel = Channel()

    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await run_while_connected(channel.request, work()) == 7
    assert channel.closed


async def test_failure_of_the_work_is_its_own() -> None:
    """An error reaches the caller as it was raised, not wrapped."""

    async def work() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await run_while_connected(Channel().request, work())


async def test_hang_up_cancels_the_work() -> None:
    """A caller who is gone stops the work, which has ended when this is known."""
    channel = Channel()
    cancelled = False

    async def work() -> None:
        nonlocal cancelled
        channel.hung_up.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled = True

    with pytest.raises(ClientDisconnect):
        await run_while_connected(channel.request, work())
    assert cancelled


async def test_rest_of_the_body_is_no_hang_up() -> None:
    """Only the end of the connection counts."""
    messages: list[Message] = [{"type": "http.request", "body": b""}]
    asked = asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop()
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def work() -> str:
        await asked.wait()
        return "done"

    assert await run_while_connected(Request({"type": "http"}, receive), work()) == "done"


async def test_cancellation_from_outside_reaches_the_work() -> None:
    """A server that stops takes the work with it."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.ensure_future(run_while_connected(Channel().request, work()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


class Line:
    """A request whose server calls back when the caller hangs up."""

    def __init__(self) -> None:
        self.callback: Callable[[], None] | None = None
        self.request = Request({"type": "http", "extensions": {HANG_UP: self.take}})

    def take(self, callback: Callable[[], None] | None) -> None:
        """Keep whom to call."""
        self.callback = callback

    def hang_up(self) -> None:
        """End the connection."""
        assert self.callback is not None
        self.callback()


async def test_call_about_a_hang_up_cancels_the_work() -> None:
    """Where the server calls back, nobody needs to wait for it."""
    line, ended = Line(), False

    async def work() -> None:
        nonlocal ended
        asyncio.get_running_loop().call_soon(line.hang_up)
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    with pytest.raises(ClientDisconnect):
        await run_while_connected(line.request, work())
    assert ended
    assert line.callback is None


async def test_call_is_not_waited_for_after_the_work() -> None:
    """Work that ends first gives its result, or its failure; then nobody is called any more."""
    line = Line()
    assert await run_while_connected(line.request, asyncio.sleep(0, 7)) == 7
    assert line.callback is None

    async def fail() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await run_while_connected(line.request, fail())
    assert line.callback is None


async def test_cancellation_from_outside_is_no_hang_up() -> None:
    """A server that stops takes the work with it, and says so."""
    line = Line()
    task = asyncio.ensure_future(run_while_connected(line.request, asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert line.callback is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-stainless-read-timeout": "600"}, 600),
        ({"x-request-timeout": "2.5", "x-stainless-read-timeout": "600"}, 2.5),
        ({"x-request-timeout": "soon"}, None),
        ({"x-request-timeout": "nan"}, None),
        ({"x-request-timeout": "inf"}, None),
        ({"x-request-timeout": "-1"}, None),
        ({"x-request-timeout": "0"}, None),
    ],
)
def test_time_that_a_caller_waits(headers: dict[str, str], expected: float | None) -> None:
    """A number of seconds is taken at its word; anything else says nothing."""
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert time_left_s(Request({"type": "http", "headers": sent})) == expected
