"""What reads media, opened for a test, and what is given to it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from media_origins import Detour, Names
from media_shops import MINE, Shop
from milvane.domain.contents import MediaPart
from milvane.domain.errors import MediaRejected
from milvane.domain.pictures import Fit, Sampling, Sizing, Viewing
from milvane.media.arriving import Arrival
from milvane.media.fetching.fetcher import Fetcher
from milvane.media.objects import Place
from milvane.media.opening import open_reader
from milvane.media.reader import GuardedReader, OwnStores
from milvane.media.reading_settings import MediaReaderSettings

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


async def refusal(reader: GuardedReader, source: str, **options: Any) -> str:
    """Say in which words a source is refused, at once or when it is seen."""
    try:
        media = await reader.fetch(MediaPart(source), **options)
        with closing(media):
            await reader.see(media, VIEWING)
    except MediaRejected as error:
        return error.message
    raise AssertionError("it was read")


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
