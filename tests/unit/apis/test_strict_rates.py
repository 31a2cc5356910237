"""The published rates of files, batches and tasks, where published limits are kept to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from milvane.apis.settings import ApisSettings
from offices import FakeClock, Office, open_office


@pytest.fixture
def clock() -> FakeClock:
    """A clock of one's own."""
    return FakeClock()


@pytest.fixture
async def office(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Office]:
    """An office that keeps to published limits; its worker does not run."""
    apis = ApisSettings(strict_limits=True)
    async with open_office(tmp_path, clock=clock, apis=apis) as office:
        yield office


@pytest.fixture
async def client(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    transport = httpx.ASGITransport(office.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
        yield client


async def submit(client: httpx.AsyncClient, file_id: str) -> httpx.Response:
    """Hand a task in."""
    return await client.post(
        "/api/v1/services/embeddings/text-embedding/text-embedding",
        json={"model": "text-embedding-async-v2", "input": {"url": file_id}},
        headers={"x-dashscope-async": "enable"},
    )


async def answered(call: Callable[[], Awaitable[httpx.Response]], times: int) -> int:
    """Count how many of some calls at once are not refused for coming too soon."""
    return sum([(await call()).status_code != 429 for _ in range(times)])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/files", 20),
        ("POST", "/v1/files", 20),
        ("GET", "/v1/files/file-batch-none", 20),
        ("GET", "/v1/files/file-batch-none/content", 20),
        ("DELETE", "/compatible-mode/v1/files/file-batch-none", 20),
        ("GET", "/api/v1/files", 20),
        ("POST", "/api/v1/files", 20),
        ("GET", "/v1/batches", 100),
    ],
)
async def test_calls_are_held_to_their_rate(
    client: httpx.AsyncClient, method: str, path: str, allowed: int
) -> None:
    """As many as are published pass at once; the next is told in its dialect to come back later."""
    assert await answered(lambda: client.request(method, path), allowed + 3) == allowed
    refused = await client.request(method, path)
    code = "Throttling.RateQuota" if path.startswith("/api/") else "limit_requests"
    told = refused.json() if path.startswith("/api/") else refused.json()["error"]
    assert told["code"] == code
    assert int(refused.headers["retry-after"]) >= 1


async def test_batches_are_held_to_a_thousand_a_minute(client: httpx.AsyncClient) -> None:
    """Creating, looking and cancelling each have a rate of their own."""
    assert await answered(lambda: client.get("/v1/batches/none"), 1001) == 1000
    assert (await client.post("/v1/batches/none/cancel")).status_code == 404
    assert (await client.post("/v1/batches", json={})).status_code == 400


async def test_tasks_are_handed_in_once_a_second(
    client: httpx.AsyncClient, office: Office, clock: FakeClock
) -> None:
    """The second task of a second is refused under the documented code."""
    file = await office.store(b"text\n", "in.txt")
    assert (await submit(client, file.id)).status_code == 200
    refused = await submit(client, file.id)
    assert (refused.status_code, refused.json()["code"]) == (429, "Throttling.RateQuota")
    clock.advance(1)
    assert (await submit(client, file.id)).status_code == 200


async def test_fifty_tasks_may_be_unfinished(
    client: httpx.AsyncClient, office: Office, clock: FakeClock
) -> None:
    """The fifty-first is refused until one of them has ended."""
    file = await office.store(b"text\n", "in.txt")
    for _ in range(50):
        assert (await submit(client, file.id)).status_code == 200
        clock.advance(1)
    refused = await submit(client, file.id)
    assert (refused.status_code, refused.json()["code"]) == (429, "Throttling.Concurrency")
    await office.run_next()
    clock.advance(1)
    assert (await submit(client, file.id)).status_code == 200


async def test_limits_of_tasks_are_listed(client: httpx.AsyncClient) -> None:
    """What is kept to is what the listing of limits says; other models have none."""
    answer = await client.get("/api/v1/quotas", params={"page_size": 100})
    limits = {each["model"]: each["model_limit"] for each in answer.json()["output"]["quotas"]}
    assert limits["text-embedding-v4"]["request_limit"] is None
    limit = limits["text-embedding-async-v2"]
    assert (limit["request_limit"], limit["request_limit_period"]) == (1, 1)
    assert limit["async_user_queue_limit"] == 50


async def test_other_limits_are_not_kept(tmp_path: Path) -> None:
    """Unless the operator wants published limits, nobody is refused for coming too soon."""
    async with open_office(tmp_path) as office:
        transport = httpx.ASGITransport(office.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
            assert await answered(lambda: client.get("/v1/files"), 50) == 50
            file = await office.store(b"text\n", "in.txt")
            assert await answered(lambda: submit(client, file.id), 60) == 60
