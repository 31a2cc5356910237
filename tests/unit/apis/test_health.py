"""Probes learn the state of the server and why it is so."""

import httpx
from fastapi import FastAPI

from milvane.apis.health import health_router
from milvane.domain.readiness import Readiness


def client(*states: Readiness) -> httpx.AsyncClient:
    """Speak to a server that is in each state for one probe."""
    remaining = iter(states)
    app = FastAPI()
    app.include_router(health_router(lambda: next(remaining)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://milvane")


async def test_a_process_that_answers_is_live() -> None:
    """Liveness asks nothing of the rest of the server."""
    async with client() as http:
        answer = await http.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


async def test_readiness_follows_the_state() -> None:
    """Each probe sees the state of its own moment, with the reasons."""
    async with client(Readiness(("the weights are loading",)), Readiness()) as http:
        before, after = await http.get("/health/ready"), await http.get("/health/ready")
    assert before.status_code == 503
    assert before.json() == {"status": "not_ready", "reasons": ["the weights are loading"]}
    assert after.status_code == 200
    assert after.json() == {"status": "ready", "reasons": []}
