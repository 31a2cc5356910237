"""Opens what a person names as a place: an address, an exported folder, or an embedded database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from milvane.domain.errors import Conflict, InvalidInput
from milvane.instances.lite.supervisor import LOCK_NAME, LiteInstance
from milvane.instances.settings import LiteSettings
from milvane.transfer.endpoints import MilvusPlace
from milvane.transfer.folders import MARKER, FolderPlace

_DEFAULT_PORT = 19530


@asynccontextmanager
async def open_place(uri: str, *, token: str | None) -> AsyncIterator[MilvusPlace | FolderPlace]:
    """
    Open a place, and close it at the end.

    Args:
        uri: `http://host:port` or `https://host:port` of a Milvus endpoint, the data directory of
            a server that does not run, or an exported folder.

        token: What the endpoint is shown, if it asks.

    Raises:
        InvalidInput: If it is none of these.
        Conflict: If a server runs on the data directory.
    """
    parts = urlsplit(uri)
    if parts.scheme in {"http", "https"} and parts.hostname:
        credentials = grpc.ssl_channel_credentials() if parts.scheme == "https" else None
        target = f"{parts.hostname}:{parts.port or _DEFAULT_PORT}"
        place = MilvusPlace(uri, target, token=token, credentials=credentials)
        try:
            yield place
        finally:
            place.close()
        return
    folder = Path(uri)
    if (folder / MARKER).is_file():
        yield FolderPlace(folder)
    elif is_data_directory(folder):
        async with _embedded(folder) as place:
            yield place
    else:
        raise InvalidInput(
            f"{uri!r} is neither an address (http://host:19530), nor an exported folder, nor a "
            "data directory"
        )


def is_data_directory(folder: Path) -> bool:
    """Say whether a folder holds an embedded Milvus Lite."""
    return any((folder / name).exists() for name in ("collections", "databases", LOCK_NAME, "LOCK"))


@asynccontextmanager
async def _embedded(folder: Path) -> AsyncIterator[MilvusPlace]:
    try:
        async with LiteInstance(LiteSettings(), folder) as lite:
            target = await lite.wait_target(0)
            place = MilvusPlace(str(folder), target)
            try:
                yield place
            finally:
                place.close()
    except Conflict as error:
        raise Conflict(
            f"{error.message}; or name the address of the server that runs there"
        ) from error
