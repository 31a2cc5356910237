"""Whose files, batches, tasks and uploads are: for everybody else they do not exist."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from milvane.domain.callers import Caller
from milvane.domain.jobs import JobState
from milvane.jobs.settings import JobsSettings
from milvane.serving.access import AccessSettings
from milvane.serving.callers import calling, current_caller
from milvane.storage.settings import StorageSettings
from milvane.storage.tables import FILES
from milvane.testing.engines import HashingEngine
from offices import Office, open_office

KEYS = ("key-of-one", "key-of-another")
LINE = {
    "custom_id": "c",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": "text-embedding-v4", "input": "text"},
}


@pytest.fixture
def engine() -> HashingEngine:
    """Hold the engine behind the office."""
    return HashingEngine()


@pytest.fixture
async def office(tmp_path: Path, engine: HashingEngine) -> AsyncIterator[Office]:
    """An office that asks for keys; each may have two unfinished jobs and 4 KB."""
    async with open_office(
        tmp_path,
        engine=engine,
        jobs=JobsSettings(max_pending_jobs=2),
        storage=StorageSettings(max_tenant_bytes=4096),
        access=AccessSettings(api_keys=[SecretStr(key) for key in KEYS]),
    ) as office:
        yield office


@pytest.fixture
async def clients(office: Office) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two callers, and somebody without a key."""
    async with AsyncExitStack() as stack:
        transport = httpx.ASGITransport(office.app)
        headers = [{"authorization": f"Bearer {key}"} for key in KEYS]
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="http://milvane", headers=header)
            )
            for header in [*headers, {}]
        ]


async def send_batch(client: httpx.AsyncClient) -> dict[str, str]:
    """Upload one line and hand it in; gives the batch."""
    content = json.dumps(LINE).encode()
    form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", content)}}
    file = (await client.post("/v1/files", **form)).raise_for_status().json()
    order = {
        "input_file_id": file["id"],
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
    }
    return (await client.post("/v1/batches", json=order)).raise_for_status().json()


async def send_task(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """Ask for a task on the texts at an address."""
    return await client.post(
        "/api/v1/services/embeddings/text-embedding/text-embedding",
        json={"model": "text-embedding-async-v2", "input": {"url": url}},
        headers={"x-dashscope-async": "enable"},
    )


async def test_batch_of_another_does_not_exist(clients: list[httpx.AsyncClient]) -> None:
    """Neither the file nor the batch of somebody else is found, listed, cancelled or deleted."""
    mine, theirs, _ = clients
    batch = await send_batch(mine)
    file_id = batch["input_file_id"]
    order = {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    refused = [
        await theirs.get(f"/v1/batches/{batch['id']}"),
        await theirs.post(f"/v1/batches/{batch['id']}/cancel"),
        await theirs.get("/v1/batches", params={"after": batch["id"]}),
        await theirs.post("/v1/batches", json=order),
        await theirs.get(f"/v1/files/{file_id}"),
        await theirs.get(f"/v1/files/{file_id}/content"),
        await theirs.delete(f"/v1/files/{file_id}"),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    for answer in (
        await theirs.get(f"/api/v1/files/{file_id}"),
        await theirs.delete(f"/api/v1/files/{file_id}"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")
    for path in ("/v1/batches", "/v1/files"):
        assert (await theirs.get(path)).json()["data"] == []
        assert len((await mine.get(path)).json()["data"]) == 1
    assert (await mine.get(f"/v1/batches/{batch['id']}")).json()["status"] == "validating"


async def test_task_of_another_is_unknown(
    clients: list[httpx.AsyncClient], office: Office, engine: HashingEngine
) -> None:
    """A task is shown to its owner alone, and its result to whoever was given the address."""
    mine, theirs, nobody = clients
    form = {"files": ("in.txt", b"one\ntwo\n")}
    upload = (await mine.post("/api/v1/files", files=form)).json()
    url = upload["data"]["uploaded_files"][0]["url"]
    assert (await send_task(theirs, url)).json()["code"] == "InvalidURL"
    task_id = (await send_task(mine, url)).raise_for_status().json()["output"]["task_id"]
    told = (await theirs.get(f"/api/v1/tasks/{task_id}")).json()
    assert told["output"]["task_status"] == "UNKNOWN"
    assert (await theirs.post(f"/api/v1/tasks/{task_id}/cancel")).status_code == 404
    assert (await theirs.get("/api/v1/tasks")).json()["total"] == 0
    await office.run_next()
    output = (await mine.get(f"/api/v1/tasks/{task_id}")).json()["output"]
    assert output["task_status"] == "SUCCEEDED"
    assert (await nobody.get(output["url"])).status_code == 200
    assert (await mine.get("/v1/files", params={"purpose": "task_result"})).json()["data"]
    assert not (await theirs.get("/v1/files")).json()["data"]


async def test_upload_belongs_to_whom_leave_was_given(clients: list[httpx.AsyncClient]) -> None:
    """What comes with a signed form, and no key, is the file of whoever asked for the form."""
    mine, theirs, nobody = clients
    params = {"action": "getPolicy", "model": "text-embedding-async-v2"}
    policy = (await mine.get("/api/v1/uploads", params=params)).json()["data"]
    key = f"{policy['upload_dir']}/in.txt"
    form = {"key": key, "Signature": policy["signature"]}
    answer = await nobody.post("/api/v1/uploads", data=form, files={"file": ("in.txt", b"text\n")})
    assert answer.status_code == 200
    assert (await send_task(theirs, f"oss://{key}")).json()["code"] == "InvalidURL"
    assert (await send_task(mine, f"oss://{key}")).status_code == 200


async def test_job_is_done_for_its_owner(
    clients: list[httpx.AsyncClient], office: Office, engine: HashingEngine
) -> None:
    """A worker that belongs to nobody works for whom the job was handed in by."""
    for client in clients[:2]:
        await send_batch(client)
    await office.run_next()
    await office.run_next()
    owners = set(
        await office.workshop.database.read(
            lambda connection: connection.execute(select(FILES.c.tenant)).scalars().all()
        )
    )
    assert len(owners) == 2
    assert {caller.tenant for caller in engine.callers} == owners
    assert current_caller().tenant not in owners


async def test_too_many_pending_jobs_are_a_quota(
    clients: list[httpx.AsyncClient], office: Office
) -> None:
    """Who has as many unfinished jobs as may be hands in no more, and others still may."""
    mine, theirs, _ = clients
    batch = await send_batch(mine)
    await send_batch(mine)
    order = {key: batch[key] for key in ("input_file_id", "endpoint", "completion_window")}
    answer = await mine.post("/v1/batches", json=order)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert int(answer.headers["retry-after"]) >= 1
    upload = (await mine.post("/api/v1/files", files={"files": ("a.txt", b"x\n")})).json()
    native = await send_task(mine, upload["data"]["uploaded_files"][0]["url"])
    assert (native.status_code, native.json()["code"]) == (429, "Throttling.Concurrency")
    await send_batch(theirs)
    await office.run_next()
    assert (await mine.post("/v1/batches", json=order)).status_code == 200


async def test_full_tenant_is_a_quota(clients: list[httpx.AsyncClient]) -> None:
    """Who has stored as many bytes as may be is told so, and others still may store."""
    mine, theirs, _ = clients
    form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", b"x" * 3000)}}
    assert (await mine.post("/v1/files", **form)).status_code == 200
    answer = await mine.post("/v1/files", **form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert (await theirs.post("/v1/files", **form)).status_code == 200


async def test_output_belongs_to_the_owner(office: Office) -> None:
    """The files that a job leaves are its owner's."""
    with calling(Caller(name="someone", tenant="someone")):
        job = await office.order_batch(json.dumps(LINE).encode())
        await office.run_next()
        ended = await office.find(job)
        assert ended.state is JobState.COMPLETED
        assert json.loads(await office.content(ended.output_file_id))["custom_id"] == "c"
