"""Requests for files, batches, tasks and uploads that real clients sent elsewhere, sent here."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from milvane.domain.files import FilePurpose
from milvane.domain.jobs import JobKind, JobOrder
from offices import Office, open_office


@dataclass(frozen=True)
class Recorded:
    """One request as a client sent it."""

    label: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: str


LINES = (Path(__file__).parent / "recorded" / "background.jsonl").read_text(encoding="utf-8")
REQUESTS = [Recorded(**json.loads(line)) for line in LINES.split("\n") if line]
UNKNOWN = [each for each in REQUESTS if each.path.endswith("/tasks/nope")]
UNREACHABLE = [each for each in REQUESTS if "http://x/in.txt" in each.body]
FILES_OF_TEXTS = "http://127.0.0.1:18999/in.txt"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """An office of one's own, whose worker does not run: what waits stays as it is."""
    async with open_office(tmp_path) as office:
        yield office


async def translate(office: Office, request: Recorded) -> Mapping[str, str]:
    """Say what the names in a recorded request, which another server gave, are called here."""
    file = await office.store(b"{}\n")
    texts = await office.store(b"a\n", "in.txt", FilePurpose.UPLOAD)
    batch = await office.order_batch(b"{}\n")
    order = JobOrder(JobKind.TEXT_TASK, texts.id, 60, model="text-embedding-async-v2")
    task = await office.desk.submit(order)
    folder, signature = await office.files.grant_upload(office.workshop.clock().replace(year=9000))
    return {
        "file-batch-1": file.id,
        '"input_file_id":"f"': f'"input_file_id":"{file.id}"',
        "batch_1": batch.id,
        "batch_0": batch.id,
        "tasks/t-1": f"tasks/{task.id}",
        FILES_OF_TEXTS: f"http://milvane/v1/files/{texts.id}/content",
        "/oss-upload": "/api/v1/uploads",
        "dashscope-instant/abc/2026-01-01/uuid": folder,
        "\r\n\r\nSIG\r\n": f"\r\n\r\n{signature}\r\n",
    }


async def send(office: Office, request: Recorded) -> httpx.Response:
    """Send a recorded request, with this server's names in it."""
    names = await translate(office, request)
    # In one pass: an id of ours may begin with what is the name of another thing over there.
    there = re.compile("|".join(re.escape(name) for name in names))
    path, body = (
        there.sub(lambda found: names[found[0]], text) for text in (request.path, request.body)
    )
    transport = httpx.ASGITransport(office.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
        return await client.request(
            request.method, path, headers=list(map(tuple, request.headers)), content=body.encode()
        )


@pytest.mark.parametrize(
    "recorded",
    [each for each in REQUESTS if each not in UNREACHABLE],
    ids=lambda request: request.label,
)
async def test_recorded_request_is_answered_as_its_client_expects(
    office: Office, recorded: Recorded
) -> None:
    """Every call succeeds with the status that the client wants, and says which request it was."""
    answer = await send(office, recorded)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"]
    if answer.headers.get("content-type") == "application/json":
        check_shape(recorded, answer.json())


def check_shape(recorded: Recorded, body: dict[str, object]) -> None:
    """Look for the keys that clients read."""
    if recorded in UNKNOWN:
        assert body["output"] == {"task_id": "nope", "task_status": "UNKNOWN"}
    elif recorded.path.startswith("/api/v1/tasks?"):
        assert {"data", "tasks", "total", "page_no", "page_size"} <= set(body)
    elif recorded.path.startswith("/api/v1/"):
        assert body["request_id"]
        assert "code" not in body
    else:
        assert body["object"] in {"file", "batch", "list"}


@pytest.mark.parametrize("recorded", UNREACHABLE, ids=lambda request: request.label)
async def test_recorded_address_elsewhere_is_refused(office: Office, recorded: Recorded) -> None:
    """A file that is not here is not fetched, and the refusal has the documented code."""
    answer = await send(office, recorded)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidURL")


def test_recordings_hold_every_case() -> None:
    """The file has requests of each kind, so that no test above runs over nothing."""
    assert (len(REQUESTS), len(UNREACHABLE), len(UNKNOWN)) == (61, 2, 2)
