"""What reads media keeps the promises of its port, and holds to its limits whoever sends what."""

from __future__ import annotations

import asyncio
import base64
import gzip
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from drawn_media import drawn_image, drawn_video, huge_png, sound_file
from media_origins import PUBLIC, Detour, Names, Origin, Reply, served_origin
from media_shops import MINE, THEIRS, Shop, open_shop
from milvane.domain.contents import MediaPart
from milvane.domain.errors import MediaRejected, Overloaded
from milvane.domain.models import Modality
from milvane.domain.pictures import Clip, Fit, Picture, Sampling, Sizing, Viewing
from milvane.media.fetching.fetcher import Fetcher
from milvane.media.objects import Place
from milvane.media.opening import open_reader
from milvane.media.policy import UNREACHABLE
from milvane.media.reader import GuardedReader, OwnStores
from milvane.media.reading_settings import MediaReaderSettings
from milvane.media.store import Arrival

SQUARE = Sizing(Fit.STRETCH, side=32)
VIEWING = Viewing(SQUARE, Sampling(SQUARE, fps=2.0, min_frames=4, max_frames=8))
HOME = {"allowed_networks": ["127.0.0.0/8"]}
"""Settings of an operator who has media on this machine."""


@asynccontextmanager
async def reading(
    folder: Path,
    stores: OwnStores | None = None,
    *,
    names: Names | None = None,
    detour: Detour | None = None,
    **settings: Any,
) -> AsyncIterator[GuardedReader]:
    """Open a reader with one process that decodes, unless a test says otherwise."""
    told = MediaReaderSettings(**{"decoders": 1, "timeout_s": 5.0, **settings})
    fetcher = Fetcher(told, resolver=names, connecting=detour)
    async with open_reader(told, folder, stores or OwnStores(), fetcher=fetcher) as reader:
        yield reader


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A server on loopback."""
    async with served_origin() as served:
        yield served


async def refusal(reader: GuardedReader, source: str, **options: Any) -> str:
    """Say in which words a source is refused, at once or when it is seen."""
    with pytest.raises(MediaRejected) as caught:
        media = await reader.fetch(MediaPart(source), **options)
        try:
            await reader.see(media, VIEWING)
        finally:
            media.close()
    return caught.value.message


async def put(shop: Shop, name: str, content: bytes, *, good_s: float = 3600) -> str:
    """Store an object of `MINE`; gives an address of it, signed for so long."""
    place = Place(MINE, "002test", name)
    async with shop.desk.store.receive(Arrival(place, "text/plain")) as incoming:
        await incoming.write(content)
        await incoming.complete()
    expires_at = shop.clock() + timedelta(seconds=good_s)
    return shop.desk.sign("http://any.example", place, shop.keys[MINE], expires_at=expires_at)


def data_uri(content: bytes) -> str:
    """Write bytes as a `data:` URI, of a type that is none of theirs."""
    return "data:application/octet-stream;base64," + base64.b64encode(content).decode()


async def test_an_image_is_read_from_each_kind_of_source(tmp_path: Path, origin: Origin) -> None:
    """Equal bytes give equal facts and pixels, wherever they are and whatever they are called."""
    content = drawn_image()
    origin.replies["/picture.mp4?x=1"] = Reply(content, headers=["Content-Type: text/html"])
    async with open_shop(tmp_path / "shop") as shop:
        signed = await put(shop, "a.txt", content)
        found = []
        async with reading(tmp_path, OwnStores(shop.desk), **HOME) as reader:
            for source in (
                f"{origin.url}/picture.mp4?x=1",
                data_uri(content),
                signed,
                "oss://002test/a.txt",
            ):
                media = await reader.fetch(MediaPart(source), tenant=MINE)
                found.append((media.facts, await reader.see(media, VIEWING)))
                media.close()
    facts, picture = found[0]
    assert (facts.modality, facts.format) == (Modality.IMAGE, "png")
    assert (facts.width, facts.height, facts.size_bytes) == (64, 48, len(content))
    assert isinstance(picture, Picture)
    assert picture.pixels.shape == (32, 32, 3)
    for others, seen in found[1:]:
        assert others == facts
        assert np.array_equal(seen.pixels, picture.pixels)


async def test_a_video_is_read(tmp_path: Path) -> None:
    """A video gives its frames at the times that are wanted, evenly over the whole of it."""
    async with reading(tmp_path) as reader:
        media = await reader.fetch(MediaPart(data_uri(drawn_video()), Modality.VIDEO))
        clip = await reader.see(media, VIEWING)
    assert (media.facts.modality, media.facts.format) == (Modality.VIDEO, "mp4")
    assert (media.facts.frames, media.facts.duration_s) == (50, 2.0)
    assert isinstance(clip, Clip)
    assert clip.times_s == (0.0, 0.64, 1.32, 1.96)
    assert np.allclose(clip.frames.mean(axis=(1, 2, 3)), [20, 85, 155, 220], atol=6)
