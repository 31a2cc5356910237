"""The unmodified `dashscope` package sends texts, images and videos, from addresses and disks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import dashscope
import numpy as np
import pytest
from dashscope.v2.errors import DashScopeError

from colours import ColourEngine, an_image, colour_service, data_uri
from drawing import draw_bananas, draw_oranges
from milvane.media.opening import open_reader
from milvane.media.reader import OwnStores
from milvane.media.reading_settings import MediaReaderSettings
from milvane.serving.embedding import EmbeddingService
from milvane.storage.files import FileStore
from offices import served_office

MODEL = "qwen3-vl-embedding"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve an engine that sees colours, with the real reader before it, and a store of files."""
    folder = tmp_path_factory.mktemp("office")

    @asynccontextmanager
    async def serve(files: FileStore) -> AsyncIterator[EmbeddingService]:
        settings = MediaReaderSettings(decoders=1)
        async with open_reader(settings, folder, OwnStores(files=files)) as reader:
            yield colour_service(ColourEngine(), reader)

    with served_office(folder, serve) as address:
        yield address
    dashscope.close_shared_sync_session()


@pytest.fixture(autouse=True)
def classic(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the classic calls at the server, as their documentation says."""
    monkeypatch.setattr(dashscope, "base_http_api_url", f"{address}/api/v1")
    monkeypatch.setattr(dashscope, "api_key", "any")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Draw two pictures, with spaces and non-ASCII letters in a name."""
    paths = [tmp_path / "some bananas 香蕉.jpg", tmp_path / "oranges.png"]
    draw_bananas().save(paths[0])
    draw_oranges().save(paths[1])
    return paths


def ask(contents: list[Any], model: str = MODEL, **parameters: Any) -> Any:
    """Call the classic interface."""
    answer = dashscope.MultiModalEmbedding.call(model=model, input=contents, **parameters)
    assert answer.status_code == HTTPStatus.OK, answer.message
    return answer


def rows_of(answer: Any) -> np.ndarray:
    """Read the vectors of an answer."""
    return np.array([item["embedding"] for item in answer.output["embeddings"]], np.float32)


def test_files_of_this_machine_are_uploaded_and_seen(pictures: list[Path]) -> None:
    """The client uploads them by itself; paths and `file://` give what a data URI gives."""
    first, second = pictures
    contents = [{"image": str(first)}, {"image": f"file://{second}"}]
    answer = ask(contents, dimension=1024)
    assert rows_of(answer).shape == (2, 1024)
    assert [item["type"] for item in answer.output["embeddings"]] == ["vl", "vl"]
    inline = ask([{"image": data_uri(second.read_bytes())}], dimension=1024)
    assert np.allclose(rows_of(inline)[0], rows_of(answer)[1])


def test_documented_example_works() -> None:
    """An image alone, by the model of the documents; usage has its fields."""
    answer = ask([{"image": data_uri(an_image("yellow"))}], "multimodal-embedding-v1")
    (item,) = answer.output["embeddings"]
    assert (item["index"], item["type"], len(item["embedding"])) == (0, "image", 1024)
    assert answer.usage == {
        "input_tokens": 0,
        "image_tokens": 16,
        "image_count": 1,
        "duration": 0.0,
    }


def test_contents_are_fused_on_demand() -> None:
    """One vector for a text and an image, between those of each."""
    contents = [{"text": "yellow"}, {"image": data_uri(an_image("blue"))}]
    apart, fused = rows_of(ask(contents)), ask(contents, enable_fusion=True)
    assert apart.shape[0] == 2
    assert [item["type"] for item in fused.output["embeddings"]] == ["fusion"]
    assert (apart @ rows_of(fused)[0] > 0.2).all()


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ([{"text": "a"}, {"image": "http://127.0.0.1:9/a.png"}], "input 1: "),
        ([{"image": "oss://dashscope-instant/x/y.png"}], "input 0: there is no such"),
        ([{"image": data_uri(b"<html><body>no</body></html>")}], "input 0: "),
    ],
)
def test_a_bad_content_reaches_the_caller_by_name(contents: list[Any], words: str) -> None:
    """The code and the message come whole, without what answered."""
    refused = dashscope.MultiModalEmbedding.call(model=MODEL, input=contents)
    assert (refused.status_code, refused.code) == (HTTPStatus.BAD_REQUEST, "InvalidURL")
    assert words in refused.message


def test_client_uploads_and_embeds(address: str, pictures: list[Path]) -> None:
    """The newer client does the same, and raises what is refused."""
    with dashscope.Client(api_key="any", base_url=f"{address}/api/v1", max_retries=0) as client:
        contents = [{"image": str(pictures[0])}, {"text": "yellow"}]
        answer = client.multimodal.embeddings.create(model=MODEL, input=contents)
        assert [item.type for item in answer.embeddings] == ["vl", "vl"]
        with pytest.raises(DashScopeError, match="input 0"):
            client.multimodal.embeddings.create(
                model=MODEL, input=[{"image": data_uri(b"%PDF-1.4")}]
            )
