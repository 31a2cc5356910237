"""
Bad images and videos through the doors: named by their row, free of charge, and nobody else's.

The real reader is behind them, with a resolver of the test; connections end at loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from pymilvus.grpc_gen import milvus_pb2

from colours import Books, ColourEngine, colour_service, data_uri
from drawn_media import drawn_image, drawn_video, huge_png, sound_file
from gateway_bench import Bench, a_bench, a_write, add_function, create, described
from media_origins import PUBLIC, Detour, Names, Origin, Reply, served_origin
from media_readings import put, reading
from media_shops import Shop, served_shop
from milvane.apis.app import create_app
from milvane.apis.dashscope.routes import MULTIMODAL_PATH
from milvane.apis.settings import ApisSettings
from milvane.domain.readiness import Readiness
from milvane.media.reader import OwnStores
from milvane.serving.accounting import Accounts
from milvane.serving.embedding import EmbeddingService

NAME = "media.example"
GOOD = data_uri(drawn_image())
MODEL = "qwen3-vl-embedding"


@dataclass
class Doors:
    """What the rows of a test come through."""

    origin: Origin
    shop: Shop
    service: EmbeddingService
    books: Books
    engine: ColourEngine

    @property
    def base(self) -> str:
        """Where the public server of images is."""
        return f"http://{NAME}:{self.origin.port}"


@asynccontextmanager
async def open_doors(folder: Path) -> AsyncIterator[Doors]:
    """Put the real reader behind the use case."""
    names, books, engine = Names(), Books(), ColourEngine()
    names.say(NAME, PUBLIC)
    names.say("rebinding.example", PUBLIC, "127.0.0.1")
    async with (
        served_origin() as origin,
        served_shop(folder) as shop,
        reading(
            folder,
            OwnStores(desk=shop.desk),
            names=names,
            detour=Detour(),
            timeout_s=2.0,
            max_image_bytes=3_000_000,
            max_video_bytes=3_000_000,
        ) as reader,
    ):
        service = colour_service(engine, reader, accounts=Accounts(books, books))
        yield Doors(origin, shop, service, books, engine)


async def bad_values(doors: Doors) -> dict[str, str]:
    """Prepare every kind of bad value; gives the words that each is refused with."""
    replies, base = doors.origin.replies, doors.base
    replies["/endless"] = Reply(drawn_image(), endless=b"\0" * 65536)
    replies["/stalls"] = Reply(drawn_image()[:20], stalls=True)
    for path, place in (
        ("/home", f"http://127.0.0.1:{doors.origin.port}/"),
        ("/cloud", "http://169.254.169.254/latest/meta-data/"),
    ):
        replies[path] = Reply(status="302 Found", headers=[f"Location: {place}"])
    replies["/page"] = Reply(b"<!DOCTYPE html><html><body>Sign in</body></html>")
    replies["/rebinds"] = Reply(status="302 Found", headers=["Location: /again"])
    expired = await put(doors.shop, "a.png", drawn_image(), good_s=-60)
    signed = await put(doors.shop, "b.png", drawn_image())
    replies["/huge"] = Reply(huge_png())
    return {
        f"{base}/huge": "30000 x 30000 pixels",
        data_uri(drawn_image("JPEG", quality=90)[:-200]): "damaged",
        data_uri(sound_file(), "video/mp4"): "it has no pictures",
        data_uri(drawn_video()[:300], "video/mp4"): "damaged",
        data_uri(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"): "an SVG drawing",
        f"{base}/endless": "more than",
        f"{base}/stalls": "",
        f"{base}/home": "",
        f"{base}/cloud": "",
        f"{base}/page": "an HTML page",
        f"{base}/404": "404",
        "http://127.0.0.1:1/": "",
        "http://169.254.169.254/latest/meta-data/": "",
        f"http://rebinding.example:{doors.origin.port}/rebinds": "",
        expired: "expired",
        signed.replace("b.png", "c.png"): "signature",
        "oss://002test/none.png": "no such",
    }


async def bind(bench: Bench) -> None:
    """Create `articles` with a function of the model."""
    schema = milvus_pb2.DescribeCollectionResponse.FromString(described()).schema
    schema.fields[1].type_params[0].value = "65535"
    add_function(schema, "see", "dense", model_name=MODEL, dim="1024")
    assert not (await create(bench, schema)).code


async def test_every_bad_row_is_named_and_costs_nothing(tmp_path: Path) -> None:
    """Whatever is wrong with its value, only its own write fails, and the server's memory stays."""
    async with open_doors(tmp_path) as doors, a_bench(embedding=doors.service) as bench:
        await bind(bench)
        before = psutil.Process().memory_info().rss
        values = await bad_values(doors)

        async def insert(*rows: str) -> milvus_pb2.MutationResult:
            reply = await bench.call("Insert", a_write(*rows, revision=1))
            return milvus_pb2.MutationResult.FromString(reply)

        refused = [insert("blue", value) for value in values]
        accepted = [insert("blue", GOOD, f"row {number}") for number in range(3)]
        results = await asyncio.gather(*refused, *accepted)
        for words, result in zip(values.values(), results, strict=False):
            assert result.status.code == 65535
            assert words in result.status.reason
            assert result.status.reason.startswith("input 1: ")
            assert result.status.reason.endswith(": function see, field document, row 1")
            assert "169.254" not in result.status.reason
        for result in results[len(values) :]:
            assert not result.status.code, result.status.reason
        writes = [name for name, *_ in bench.upstream.calls if name.endswith("Insert")]
        assert len(writes) == len(accepted)
        assert sorted(record.tokens for record in doors.books.records)[: len(values)] == (
            [0] * len(values)
        )
        assert sum(record.images for record in doors.books.records) == len(accepted)
        assert psutil.Process().memory_info().rss - before < 64 * 1024**2


async def test_a_bad_content_is_named_over_http(tmp_path: Path) -> None:
    """The same holds for contents of a request to the HTTP APIs, with the dialect's own codes."""
    async with open_doors(tmp_path) as doors:
        app = create_app(doors.service, ApisSettings(), Readiness)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:

            async def ask(*images: str) -> httpx.Response:
                contents: list[Any] = [{"text": "blue"}, *({"image": each} for each in images)]
                body = {"model": MODEL, "input": {"contents": contents}}
                return await client.post(MULTIMODAL_PATH, json=body)

            values = await bad_values(doors)
            answers = await asyncio.gather(*(ask(GOOD, value) for value in values), ask(GOOD))
        for answer in answers[:-1]:
            assert answer.status_code == 400
            assert answer.json()["code"] in ("InvalidURL", "InvalidParameter")
            assert "input 2: " in answer.json()["message"]
        assert answers[-1].is_success
        assert sum(record.images for record in doors.books.records) == 1
