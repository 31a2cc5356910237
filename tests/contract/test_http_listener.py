"""The HTTP listener answers as soon as it can."""

from __future__ import annotations

import asyncio
import http.client
import time

from starlette.types import Receive, Scope, Send

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
