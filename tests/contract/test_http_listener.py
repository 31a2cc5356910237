"""The HTTP listener answers as soon as it can."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import time

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from milvane.apis.connection import run_while_connected
from milvane.apis.listener import HttpListener

CALLS = 80


async def answer_in_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer as applications do: its head, then its body."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * 100})


def call_again_and_again(port: int) -> list[float]:
    """Make calls on one connection; returns the seconds of each."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    durations = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        connection.request("POST", "/", body=b"{}")
        assert len(connection.getresponse().read()) == 100
        durations.append(time.perf_counter() - begun)
    connection.close()
    return durations


async def test_end_of_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    """Also on a connection that has been used for long, where kernels delay acknowledgements."""
    listener = HttpListener(answer_in_pieces, host="127.0.0.1", port=0, drain_timeout_s=1)
    async with listener:
        durations = await asyncio.to_thread(call_again_and_again, listener.port)
    # The fastest of the later ones: a busy machine slows some, a delayed acknowledgement all.
    assert min(durations[CALLS // 2 :]) < 0.03


def first_piece(port: int) -> bytes:
    """Ask, and give what the first packet of the answer has."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        return connection.recv(1 << 20)


async def test_short_answer_comes_in_one_piece() -> None:
    """A client that waits for an answer is woken once."""

    async def answer_at_length(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 50, "more_body": True})
        await send({"type": "http.response.body", "body": b"y" * 50})

    listener = HttpListener(answer_at_length, host="127.0.0.1", port=0, drain_timeout_s=1)
    async with listener:
        piece = await asyncio.to_thread(first_piece, listener.port)
    assert piece.startswith(b"HTTP/1.1 200")
    assert piece.endswith(b"y" * 50)


async def test_beginning_of_an_answer_does_not_wait_for_its_end() -> None:
    """What an application sends before it waits is on its way while it waits."""
    has_come = asyncio.Event()

    async def answer_in_time(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"early", "more_body": True})
        await has_come.wait()
        await send({"type": "http.response.body", "body": b"late"})

    listener = HttpListener(answer_in_time, host="127.0.0.1", port=0, drain_timeout_s=1)
    async with listener:
        piece = await asyncio.to_thread(first_piece, listener.port)
        has_come.set()
    assert b"early" in piece


async def test_endless_answer_waits_for_a_client_that_does_not_read() -> None:
    """An application that never waits is made to, before its answer fills the memory."""
    sent_bytes = 0
    is_held = asyncio.Event()

    async def answer_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent_bytes
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent_bytes < 1 << 28:
            asyncio.get_running_loop().call_soon(is_held.set)
            await send({"type": "http.response.body", "body": b"z" * 8192, "more_body": True})
            sent_bytes += 8192

    listener = HttpListener(answer_for_ever, host="127.0.0.1", port=0, drain_timeout_s=1)
    async with listener:
        with socket.create_connection(("127.0.0.1", listener.port), timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await is_held.wait()
            assert sent_bytes < 1 << 28


async def test_work_ends_when_its_caller_hangs_up() -> None:
    """A connection that is closed cancels what runs for it, the second request on it too."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if await request.body() == b"wait":
            with contextlib.suppress(ClientDisconnect):
                await run_while_connected(request, work())
            return
        await Response(b"quick")(scope, receive, send)

    listener = HttpListener(app, host="127.0.0.1", port=0, drain_timeout_s=1)
    async with listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % 5 + b"quick")
        await reader.readuntil(b"quick")
        writer.write(head % 4 + b"wait")
        await begun.wait()
        writer.close()
        await asyncio.wait_for(ended.wait(), 30)
