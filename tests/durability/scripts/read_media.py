"""Read images without end, and say what was read: which decoders there are, and how many came."""

from __future__ import annotations

import asyncio
import base64
import sys
from itertools import count
from pathlib import Path

from milvane.domain.contents import MediaPart
from milvane.domain.pictures import Fit, Sizing, Viewing
from milvane.media.opening import open_reader
from milvane.media.reader import GuardedReader, OwnStores
from milvane.media.reading_settings import MediaReaderSettings


def bitmap(number: int) -> bytes:
    """Make a file of one pixel, followed by many bytes that nobody looks at."""
    size = 200_000
    head = b"BM" + (54 + 4 + size).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    sizes = (40).to_bytes(4, "little") + (1).to_bytes(4, "little") * 2
    planes = (1).to_bytes(2, "little") + (24).to_bytes(2, "little")
    return head + sizes + planes + bytes(24) + number.to_bytes(4, "little") + bytes(size)


async def read_one(reader: GuardedReader, number: int) -> None:
    """Read the image of a number."""
    content = base64.b64encode(bitmap(number)).decode()
    media = await reader.fetch(MediaPart(f"data:;base64,{content}"))
    await reader.see(media, Viewing(Sizing(Fit.STRETCH, side=8)))
    media.close()


async def main(folder: Path) -> None:
    """Read until killed."""
    settings = MediaReaderSettings(decoders=2, cache_bytes=2_000_000, **SMALL)
    async with open_reader(settings, folder, OwnStores()) as reader:
        for number in count(step=4):
            await asyncio.gather(*(read_one(reader, number + each) for each in range(4)))
            told = reader._decoders.process_ids
            sys.stdout.write(" ".join(map(str, [number, *told])) + "\n")
            sys.stdout.flush()


SMALL = {"max_image_bytes": 1_000_000, "max_video_bytes": 1_000_000}

asyncio.run(main(Path(sys.argv[1])))
