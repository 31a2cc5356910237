"""Contents of the native dialect: every form of input, and the answer in the model's own way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from colours import ColourEngine, DataReader, a_video, an_image, colour_service, data_uri
from milvane.apis.app import create_app
from milvane.apis.dashscope.routes import MULTIMODAL_PATH as PATH
from milvane.apis.dashscope.wire import MultimodalAnswer
from milvane.apis.settings import ApisSettings
from milvane.domain.readiness import Readiness

QWEN = "qwen3-vl-embedding"
V1 = "multimodal-embedding-v1"
YELLOW, BLUE = data_uri(an_image("yellow")), data_uri(an_image("blue"))
VIDEO = "https://media.example/v.mp4?sign=x"


@asynccontextmanager
async def client_with(
    *, is_strict: bool = False
) -> AsyncIterator[tuple[httpx.AsyncClient, ColourEngine]]:
    """Speak to an application whose multimodal models see colours."""
    reader, engine = DataReader(), ColourEngine()
    reader.kept[VIDEO] = a_video("yellow", 6)
    app = create_app(
        colour_service(engine, reader), ApisSettings(strict_limits=is_strict), Readiness
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
        yield client, engine


async def ask(
    contents: list[Any], model: str = QWEN, *, is_strict: bool = False, **parameters: Any
) -> httpx.Response:
    """Have contents embedded."""
    body = {"model": model, "input": {"contents": contents}, "parameters": parameters}
    async with client_with(is_strict=is_strict) as (client, _):
        return await client.post(PATH, json=body)


@pytest.mark.parametrize(
    ("model", "types"),
    [
        (QWEN, ["vl"] * 4 + ["fusion", "vl", "vl"]),
        (V1, ["text", "text", "image", "video", "fused", "multi_images", "video"]),
    ],
)
async def test_each_content_has_its_vector_and_type(model: str, types: list[str]) -> None:
    """Bare strings, texts, images, videos, parts together, several images, and a list of frames."""
    contents = [
        "yellow",
        {"text": "yellow"},
        {"image": YELLOW},
        {"video": VIDEO},
        {"text": "yellow", "image": BLUE},
        {"multi_images": [YELLOW, BLUE]},
        {"video": [YELLOW, BLUE]},
    ]
    answer = await ask(contents, model, dimension=1024)
    parsed = MultimodalAnswer.model_validate_json(answer.content)
    assert [item.type for item in parsed.output.embeddings] == types
    assert [item.index for item in parsed.output.embeddings] == list(range(7))
    rows = np.array([item.embedding for item in parsed.output.embeddings])
    assert rows.shape == (7, 1024)
    assert np.allclose(rows[:4] @ rows[0], 1, atol=1e-4)
    assert (rows[4:] @ rows[0] < 0.9).all()
    assert answer.headers["x-milvane-weights"] == "colours"


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        (QWEN, {"input_tokens": 2, "image_tokens": 32, "total_tokens": 34}),
        (V1, {"input_tokens": 2, "image_tokens": 32, "image_count": 1, "duration": 6.0}),
    ],
)
async def test_usage_has_the_fields_of_its_model(model: str, usage: dict[str, Any]) -> None:
    """And no others: clients read them into types that take no more."""
    answer = await ask([{"text": "two words"}, {"image": YELLOW}, {"video": VIDEO}], model)
    assert answer.json()["usage"] == usage


async def test_fusion_makes_one_vector_of_all_contents() -> None:
    """The whole list is one content, and says so."""
    answer = await ask([{"text": "yellow"}, {"image": BLUE}, "green"], enable_fusion=True)
    (item,) = answer.json()["output"]["embeddings"]
    assert (item["index"], item["type"], len(item["embedding"])) == (0, "fusion", 2560)


async def test_parameters_reach_the_weights_or_are_reported() -> None:
    """What they take changes vectors; what they do not is told beside the usage."""
    contents = [{"video": VIDEO}, {"text": "a", "factor": 2}]
    plain = await ask(contents, fps=0.5, max_video_frames=2, res_level=1)
    assert plain.json()["usage"]["milvane"] == {"ignored": ["factor"]}
    told = await ask([{"text": "a"}], instruct="Find it")
    assert told.json()["usage"]["milvane"] == {"ignored": ["instruct"]}
    cut = await ask(["word " * 600], V1, auto_truncation=True)
    assert cut.json()["usage"]["milvane"] == {"cut_inputs": [0]}


@pytest.mark.parametrize(
    ("contents", "code", "words"),
    [
        ([{"text": "a"}, {"image": "pictures/a.png"}], "InvalidParameter", "image of contents 1"),
        ([{"text": "a"}, {"image": "https://a/b"}], "InvalidURL", "input 1: the address does not"),
        ([{"image": data_uri(b"<svg/>")}], "InvalidURL", "input 0: it is neither an image"),
        ([{"image": VIDEO}], "InvalidURL", "input 0: it is no image"),
        ([{"audio": "https://a/b.wav"}], "InvalidParameter", "takes no audio: contents 0"),
        ([{"text": ""}], "InvalidParameter", "input 0 is an empty string"),
        ([{"text": "word " * 600}], "InvalidParameter", "Range of input length should be [1, 512]"),
        (
            [{"image": data_uri(bytes(4_000_000))}],
            "InvalidParameter",
            "Exceeded limit on max bytes per data-uri item : 3145728 (input 0: it has more",
        ),
    ],
)
async def test_bad_contents_are_named_and_cost_nothing(
    contents: list[Any], code: str, words: str
) -> None:
    """Each has its code, the position of the content, and the reason."""
    body = {"model": V1, "input": {"contents": contents}}
    async with client_with() as (client, engine):
        answer = await client.post(PATH, content=json.dumps(body))
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert words in answer.json()["message"]
    assert engine.embedded == 0


async def test_strict_limits_are_those_of_the_contract() -> None:
    """Items, images, videos and formats: one more is refused, and taken where limits are not."""
    webp = data_uri(an_image("blue", image_format="WEBP"), "image/webp")
    for contents, model, words in (
        (["a"] * 21, QWEN, "batch size is invalid, it should not be larger than 20."),
        ([{"image": YELLOW}] * 6, QWEN, "number of images is invalid, it should not be larger"),
        ([{"video": VIDEO}] * 2, QWEN, "number of videos is invalid"),
        ([{"image": webp}], V1, "takes no images of the format webp"),
    ):
        refused = await ask(contents, model, is_strict=True)
        assert refused.status_code == 400
        assert words in refused.json()["message"]
        assert (await ask(contents, model)).is_success
    assert (await ask([{"image": YELLOW}] * 5, is_strict=True)).is_success
