"""Uploads and their refusals, without a socket, on every address that takes files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from milvane.apis.settings import ApisSettings
from milvane.storage.settings import StorageSettings
from offices import FakeClock, Office, open_office

MAX_FILE_BYTES = 300_000
UPLOADS = ("/v1/files", "/compatible-mode/v1/files", "/api/v1/files", "/api/v1/uploads")


@pytest.fixture
def clock() -> FakeClock:
    """A clock of one's own."""
    return FakeClock()


@pytest.fixture
async def office(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Office]:
    """An office that takes larger files than bodies."""
    storage = StorageSettings(max_file_bytes=MAX_FILE_BYTES, max_files=3)
    apis = ApisSettings(max_body_bytes=10_000)
    async with open_office(tmp_path, clock=clock, storage=storage, apis=apis) as office:
        yield office


@pytest.fixture
async def client(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    """Speak to the office."""
    transport = httpx.ASGITransport(office.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
        yield client


def on_disk(office: Office) -> list[str]:
    """List the files of the store."""
    return [path.name for path in (office.folder / "files").rglob("*") if path.is_file()]


async def granted(client: httpx.AsyncClient, name: str = "a.txt") -> dict[str, str]:
    """Ask for leave to upload; gives the fields of the form."""
    answer = await client.get("/api/v1/uploads", params={"action": "getPolicy", "model": "m"})
    policy = answer.raise_for_status().json()["data"]
    assert policy["upload_host"] == "http://milvane/api/v1/uploads"
    return {"Signature": policy["signature"], "key": f"{policy['upload_dir']}/{name}"}


async def fields_for(path: str, client: httpx.AsyncClient) -> dict[str, str]:
    """Say what a form for this address needs beside the file."""
    return await granted(client) if path.endswith("uploads") else {"purpose": "batch"}


def file_field(path: str) -> str:
    """Name the field of the file."""
    return "files" if path == "/api/v1/files" else "file"


@pytest.mark.parametrize("path", UPLOADS)
async def test_file_larger_than_other_bodies_is_taken(
    path: str, client: httpx.AsyncClient, office: Office
) -> None:
    """A file may be as large as files may be, however large other bodies may be."""
    content = b"x" * MAX_FILE_BYTES
    form = await fields_for(path, client)
    answer = await client.post(path, data=form, files={file_field(path): ("a.txt", content)})
    assert answer.status_code == 200, answer.text
    (name,) = on_disk(office)
    assert (office.folder / "files" / name).read_bytes() == content


def unannounced(content: bytes, fields: dict[str, str], name: str) -> Any:
    """Make a body whose size no header tells."""
    request = httpx.Request("POST", "http://x", data=fields, files={name: ("a.txt", content)})
    body = request.read()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    return pieces(), {"content-type": request.headers["content-type"]}


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize("excess", [1, 5_000_000])
async def test_too_large_a_file_is_refused_and_leaves_nothing(
    path: str, excess: int, client: httpx.AsyncClient, office: Office
) -> None:
    """Whether its size is announced or not, a file above the limit is refused in the dialect."""
    form = await fields_for(path, client)
    content = b"x" * (MAX_FILE_BYTES + excess)
    body, headers = unannounced(content, form, file_field(path))
    answers = [
        await client.post(path, data=form, files={file_field(path): ("a.txt", content)}),
        await client.post(path, content=body, headers=headers),
    ]
    for answer in answers:
        told = answer.json()
        if path.startswith("/api/"):
            assert (answer.status_code, told["code"]) == (400, "BadRequest.TooLarge")
        else:
            assert (answer.status_code, told["error"]["code"]) == (413, "BadRequest.TooLarge")
    assert on_disk(office) == []


async def test_upload_without_leave_is_refused(client: httpx.AsyncClient, office: Office) -> None:
    """Nobody writes to a folder that is not theirs, or no longer open."""
    form = await granted(client)
    folder = form["key"].rpartition("/")[0]
    wrong = [
        {**form, "Signature": "guess"},
        {**form, "key": "dashscope-instant/other/a.txt"},
        {**form, "key": f"{folder}/../a.txt"},
        {**form, "key": f"{folder}/sub/a.txt"},
        {**form, "key": f"{folder}/"},
        {"key": form["key"]},
        {},
    ]
    for fields in wrong:
        answer = await client.post("/api/v1/uploads", data=fields, files={"file": ("a.txt", b"x")})
        assert answer.status_code in (400, 403), fields
        assert answer.json()["code"] in ("AccessDenied", "InvalidParameter")
    assert on_disk(office) == []


async def test_leave_to_upload_ends(
    client: httpx.AsyncClient, office: Office, clock: FakeClock
) -> None:
    """Leave holds for as long as it said, and not longer."""
    form = await granted(client)
    clock.advance(299)
    answer = await client.post("/api/v1/uploads", data=form, files={"file": ("a.txt", b"x")})
    assert answer.status_code == 200
    clock.advance(1)
    answer = await client.post("/api/v1/uploads", data=form, files={"file": ("a.txt", b"x")})
    assert (answer.status_code, answer.json()["code"]) == (403, "AccessDenied")
    assert len(on_disk(office)) == 1


async def test_full_store_is_a_quota(client: httpx.AsyncClient) -> None:
    """Above the number of files, each dialect says that a quota is spent."""
    for _ in range(3):
        form = {"files": ("a.txt", b"x")}
        assert (await client.post("/api/v1/files", files=form)).status_code == 200
    native = await client.post("/api/v1/files", files={"files": ("a.txt", b"x")})
    assert (native.status_code, native.json()["code"]) == (429, "Throttling.AllocationQuota")
    compatible = await client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("a.txt", b"x")}
    )
    assert compatible.status_code == 429
    assert compatible.json()["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "..", "C:\\x", "a\x00b", "名前.jsonl"])
async def test_names_lead_nowhere(name: str, client: httpx.AsyncClient, office: Office) -> None:
    """Whatever a file is called, it lies in the store under its id alone."""
    before = set(office.folder.parent.rglob("*"))
    answer = await client.post("/v1/files", data={"purpose": "batch"}, files={"file": (name, b"x")})
    card = answer.raise_for_status().json()
    (new,) = set(office.folder.parent.rglob("*")) - before
    assert (new.name, new.parent) == (card["id"], office.folder / "files")
    assert "/" not in card["filename"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/files?limit=0", 400),
        ("GET", "/v1/files?limit=x", 400),
        ("GET", "/v1/batches?limit=101", 400),
        ("GET", "/v1/batches?status=nonsense", 400),
        ("GET", "/v1/batches?create_after=yesterday", 400),
        ("POST", "/v1/batches", 400),
        ("POST", "/v1/files", 400),
        ("GET", "/api/v1/tasks?page_no=0", 400),
        ("GET", "/api/v1/tasks?status=nonsense", 400),
        ("GET", "/api/v1/tasks?start_time=1", 400),
        ("POST", "/api/v1/tasks/nope/cancel", 404),
        ("GET", "/api/v1/results/nope", 404),
        ("GET", "/api/v1/uploads", 400),
        ("GET", "/api/v1/uploads?action=getPolicy", 400),
        ("POST", "/api/v1/files", 400),
    ],
)
async def test_bad_calls_are_told_in_the_dialect(
    method: str, path: str, status: int, client: httpx.AsyncClient
) -> None:
    """What makes no sense is the caller's mistake, in the shape of the path's dialect."""
    answer = await client.request(method, path)
    assert answer.status_code == status
    body = answer.json()
    told = body if path.startswith("/api/") else body["error"]
    assert told["code"]
    assert told["message"]


async def test_files_of_others_are_no_results(client: httpx.AsyncClient, office: Office) -> None:
    """The address of results gives results and nothing else of the store."""
    file = await office.store(b"x")
    assert (await client.get(f"/api/v1/results/{file.id}.gz")).status_code == 404
