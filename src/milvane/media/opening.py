"""How what reads media is put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from milvane.media.buckets import BucketSettings
from milvane.media.decoding.pool import DecoderPool
from milvane.media.fetching.fetcher import Fetcher
from milvane.media.keeping.cache import MediaCache
from milvane.media.reader import GuardedReader, OwnStores
from milvane.media.reading_settings import MediaReaderSettings

CACHE_FOLDER = "media-cache"


@asynccontextmanager
async def open_reader(
    settings: MediaReaderSettings,
    data_dir: Path,
    stores: OwnStores,
    *,
    fetcher: Fetcher | None = None,
) -> AsyncIterator[GuardedReader]:
    """
    Open what reads the images and videos that callers point at.

    Args:
        settings: What may be fetched, and how much of everything.

        data_dir: Holds the files of what was fetched, in a folder of their own.

        stores: Where media may be without being fetched; open as long as this is.

        fetcher: Fetches from addresses; one by the settings if none.
    """
    async with AsyncExitStack() as stack:
        cache = MediaCache(data_dir / CACHE_FOLDER, settings.cache_bytes)
        buckets = {
            name: await stack.enter_async_context(fetcher_of(bucket, settings))
            for name, bucket in settings.buckets.items()
        }
        yield GuardedReader(
            settings,
            await stack.enter_async_context(cache),
            await stack.enter_async_context(fetcher or Fetcher(settings)),
            await stack.enter_async_context(DecoderPool(settings)),
            replace(stores, buckets=buckets),
        )


def fetcher_of(bucket: BucketSettings, settings: MediaReaderSettings) -> Fetcher:
    """Make what fetches from one bucket: wherever it is, and nowhere else."""
    own = {"fetches_addresses": True, "max_redirects": 0}
    return Fetcher(settings.model_copy(update=own), rules=bucket.rules)
