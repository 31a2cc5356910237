"""Files, batches and tasks with the unmodified `openai` and `dashscope` packages, on loopback."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dashscope
import httpx
import openai
import pytest
from dashscope.v2.errors import DashScopeError, NotFoundError

from offices import served_office

MODEL = "text-embedding-async-v2"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve one office to all tests of this module."""
    with served_office(tmp_path_factory.mktemp("office")) as address:
        yield address
    dashscope.close_shared_sync_session()


@pytest.fixture(autouse=True)
def classic(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the classic calls at the server, as their documentation says."""
    monkeypatch.setattr(dashscope, "base_http_api_url", f"{address}/api/v1")
    monkeypatch.setattr(dashscope, "api_key", "any")


@pytest.fixture(params=["/compatible-mode/v1", "/v1"])
def client(address: str, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    """Use the client with nothing but another address."""
    with openai.OpenAI(base_url=address + request.param, api_key="any", max_retries=0) as client:
        yield client


def request_line(number: int, **body: Any) -> str:
    """Make a line of a batch."""
    request = {
        "custom_id": f"c{number}",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "text-embedding-v4", "input": f"text {number}"} | body,
    }
    return json.dumps(request) + "\n"


def upload(client: openai.OpenAI, folder: Path, content: str) -> openai.types.FileObject:
    """Upload a file as the documents do."""
    path = folder / "in.jsonl"
    path.write_text(content)
    with path.open("rb") as file:
        return client.files.create(file=file, purpose="batch")


def wait_for(client: openai.OpenAI, batch_id: str) -> openai.types.Batch:
    """Ask until a batch has ended."""
    while (batch := client.batches.retrieve(batch_id)).status in (
        "validating",
        "in_progress",
        "finalizing",
        "cancelling",
    ):
        pass
    return batch


def lines_of(client: openai.OpenAI, file_id: str) -> list[dict[str, Any]]:
    """Read a file that a batch has left."""
    return [json.loads(line) for line in client.files.content(file_id).iter_lines()]


def test_batch_from_upload_to_results(client: openai.OpenAI, tmp_path: Path) -> None:
    """The documents' whole way: upload, create, wait, read both files, delete."""
    lines = [request_line(number, dimensions=64) for number in range(10)]
    lines.append(request_line(10, input=""))
    file = upload(client, tmp_path, "".join(lines))
    assert (file.purpose, file.status, file.filename) == ("batch", "processed", "in.jsonl")
    assert client.files.retrieve(file.id) == file
    assert file.id in [each.id for each in client.files.list(purpose="batch", limit=3)]
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/embeddings",
        completion_window="24h",
        metadata={"ds_name": "nightly", "ds_description": "texts"},
    )
    assert batch.metadata == {"ds_name": "nightly", "ds_description": "texts"}
    assert batch.expires_at == batch.created_at + 24 * 3600
    batch = wait_for(client, batch.id)
    assert batch.status == "completed"
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (11, 10, 1)
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    answers = [json.loads(each) for each in client.files.content(batch.output_file_id).iter_lines()]
    (failure,) = [
        json.loads(each) for each in client.files.content(batch.error_file_id).iter_lines()
    ]
    assert [each["custom_id"] for each in answers] == [f"c{number}" for number in range(10)]
    alone = client.embeddings.create(
        model="text-embedding-v4", input="text 3", dimensions=64, encoding_format="float"
    )
    body = answers[3]["response"]["body"]
    assert body["data"][0]["embedding"] == alone.data[0].embedding
    assert (failure["custom_id"], failure["error"]["code"]) == ("c10", "InvalidParameter")
    assert batch.usage is not None
    assert batch.usage.total_tokens == 20
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_wrong_batch_names_its_errors(client: openai.OpenAI, tmp_path: Path) -> None:
    """A file that breaks rules fails, and the client reads which lines and why."""
    lines = request_line(1) + request_line(1) + request_line(2, model="text-embedding-v3")
    file = upload(client, tmp_path, lines)
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
    )
    batch = wait_for(client, batch.id)
    assert batch.status == "failed"
    assert batch.errors is not None
    told = [(error.code, error.line) for error in batch.errors.data or ()]
    assert told == [("duplicate_custom_id", 2), ("mismatched_model", 3)]
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_batches_are_listed_and_searched(client: openai.OpenAI, tmp_path: Path) -> None:
    """The client pages through the list by itself; the hosted service's filters work."""
    file = upload(client, tmp_path, request_line(1))
    made = [
        client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/embeddings",
            completion_window="14d",
            metadata={"ds_name": name},
        )
        for name in ("one", "two", "three")
    ]
    found = list(client.batches.list(limit=1, extra_query={"input_file_ids": file.id}))
    assert [each.id for each in found] == [each.id for each in made[::-1]]
    query = {"input_file_ids": file.id, "ds_name": "w"}
    assert [each.id for each in client.batches.list(extra_query=query)] == [made[1].id]
    for each in made:
        wait_for(client, each.id)
    query = {"input_file_ids": file.id, "status": "completed,failed"}
    assert len(list(client.batches.list(extra_query=query))) == 3
    assert not list(client.batches.list(extra_query={"create_before": "20200101000000"}))


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"completion_window": "15d"}, "completion_window"),
        ({"metadata": {"ds_name": "x" * 101}}, "metadata"),
    ],
)
def test_batch_that_cannot_be_is_a_bad_request(
    client: openai.OpenAI, tmp_path: Path, arguments: dict[str, Any], param: str
) -> None:
    """What a batch cannot have is refused before there is one."""
    file = upload(client, tmp_path, request_line(1))
    known = {"endpoint": "/v1/embeddings", "completion_window": "24h"}
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(input_file_id=file.id, **(known | arguments))
    assert caught.value.param == param


def test_unknown_files_and_batches_are_not_found(client: openai.OpenAI) -> None:
    """Each call on something that does not exist is the client's own exception."""
    known = {"endpoint": "/v1/embeddings", "completion_window": "24h"}
    calls = [
        lambda: client.files.retrieve("file-batch-1"),
        lambda: client.files.content("../../etc/passwd"),
        lambda: client.files.delete("file-batch-1"),
        lambda: client.files.list(after="file-batch-1"),
        lambda: client.batches.retrieve("batch_1"),
        lambda: client.batches.cancel("batch_1"),
        lambda: client.batches.list(after="batch_1"),
        lambda: client.batches.create(input_file_id="file-batch-1", **known),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()


def test_wrong_purpose_is_a_bad_request(client: openai.OpenAI) -> None:
    """Files for what is not offered are not taken."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=b"x", purpose="fine-tune")
    assert caught.value.param == "purpose"


@pytest.fixture
def native(address: str) -> Iterator[dashscope.Client]:
    """Use the newer client with nothing but another address."""
    with dashscope.Client(api_key="any", base_url=f"{address}/api/v1", max_retries=0) as client:
        yield client


def text_file(native: dashscope.Client, folder: Path, content: str, name: str = "in.txt") -> str:
    """Upload a file of texts; returns its id."""
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(native.files.upload(file_path=str(path), purpose="inference").file_id)


def results_at(url: str) -> list[dict[str, Any]]:
    """Fetch the results of a task."""
    content = httpx.get(url).raise_for_status().content
    return [json.loads(each) for each in gzip.decompress(content).splitlines()]


def test_classic_batch_call_embeds_a_file(
    address: str, native: dashscope.Client, tmp_path: Path
) -> None:
    """The documented call waits for its task and gives the address of gzipped results."""
    file_id = text_file(native, tmp_path, "hello world\n\n第二行\n" + "x" + " x" * 2999 + "\n")
    url = f"{address}/v1/files/{file_id}/content"
    answer = dashscope.BatchTextEmbedding.call(model=MODEL, url=url, text_type="document")
    assert (answer.status_code, answer.output["task_status"]) == (200, "SUCCEEDED")
    results = results_at(answer.output["url"])
    assert [each["output"]["text_index"] for each in results] == [0, 2, 3]
    assert [each["output"]["code"] for each in results] == [200, 200, 400]
    assert "line 3 has at least 3000 tokens" in results[2]["output"]["message"]
    assert len(results[0]["output"]["embedding"]) == 1536
    tokens = sum(each["usage"]["total_tokens"] for each in results)
    assert answer.usage["total_tokens"] == tokens == 3
    listed = dashscope.BatchTextEmbedding.list(status="SUCCEEDED", model_name=MODEL)
    assert answer.output["task_id"] in [task["task_id"] for task in listed.output["data"]]
    cancelled = dashscope.BatchTextEmbedding.cancel(answer.output["task_id"])
    assert (cancelled.status_code, cancelled.code) == (400, "UnsupportedOperation")


def test_unknown_task_is_no_error() -> None:
    """A task that nobody knows has a status of its own."""
    answer = dashscope.BatchTextEmbedding.fetch("nope")
    assert (answer.status_code, answer.output["task_status"]) == (200, "UNKNOWN")


def test_jobs_of_the_newer_client(native: dashscope.Client, tmp_path: Path) -> None:
    """Create, wait and list with the newer client; a wrong file fails with its reason."""
    file_id = text_file(native, tmp_path, "a\nb\n")
    job = native.embeddings.jobs.create(model=MODEL, file_url=file_id, text_type="query")
    job = native.embeddings.jobs.wait(job, poll_interval=0.05)
    assert job.status == "SUCCEEDED"
    listed = native.embeddings.jobs.list(page_size=50)
    assert job.task_id in [each.task_id for each in listed.tasks]
    wrong = text_file(native, tmp_path, "a\n", name="in.csv")
    failing = native.embeddings.jobs.create(model=MODEL, file_url=wrong)
    with pytest.raises(DashScopeError, match="File type should be txt"):
        native.embeddings.jobs.wait(failing, poll_interval=0.05)


def test_files_of_the_newer_client(native: dashscope.Client, tmp_path: Path) -> None:
    """Upload, look, list and delete with the newer client; what is gone is not found."""
    file_id = text_file(native, tmp_path, "a\nb\n")
    file = native.files.get(file_id=file_id)
    assert (file.file_id, file.name, file.size) == (file_id, "in.txt", 4)
    listed = native.files.list(page_no=1, page_size=2)
    assert listed.files[0].file_id == file_id
    assert listed.total_count >= len(listed.files)
    assert native.files.delete(file_id=file_id).deleted
    with pytest.raises(NotFoundError):
        native.files.get(file_id=file_id)


@pytest.mark.parametrize(
    ("model", "url", "code"),
    [
        (MODEL, "http://169.254.169.254/latest/meta-data", "InvalidURL"),
        (MODEL, "file:///etc/passwd", "InvalidURL"),
        (MODEL, "http://[", "InvalidURL"),
        (MODEL, "oss://a\0b", "InvalidURL"),
        (MODEL, "oss://dashscope-instant/../../in.txt", "InvalidURL"),
        ("text-embedding-v4", "http://x/in.txt", "AccessDenied"),
        ("gpt", "http://x/in.txt", "InvalidParameter"),
    ],
)
def test_task_that_cannot_be_is_refused(model: str, url: str, code: str) -> None:
    """Nothing is fetched from elsewhere, and only models for files take files."""
    answer = dashscope.BatchTextEmbedding.async_call(model=model, url=url)
    assert answer.status_code in (400, 403)
    assert answer.code == code


def test_uploaded_text_is_found_by_its_oss_address(tmp_path: Path) -> None:
    """The package's own upload puts a file where a task finds it, once or twice."""
    path = tmp_path / "my texts.txt"
    path.write_text("a\nb\n")
    upload_file = dashscope.utils.oss_utils.OssUtils.upload
    url, certificate = upload_file(model=MODEL, file_path=str(path), api_key="any")
    assert url.startswith("oss://")
    again, _ = upload_file(
        model=MODEL, file_path=str(path), api_key="any", upload_certificate=certificate
    )
    assert again == url
    answer = dashscope.BatchTextEmbedding.call(model=MODEL, url=url)
    assert [each["output"]["code"] for each in results_at(answer.output["url"])] == [200, 200]
