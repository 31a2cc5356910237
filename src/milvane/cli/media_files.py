"""How the command line reaches the media store: beside a server that may run, not through it."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from milvane.cli.records import Records
from milvane.domain.errors import InvalidInput
from milvane.media.arriving import Arrival
from milvane.media.desk import MediaDesk, folder_of, open_desk
from milvane.media.keys import AccessKey, Keyring, key_of_tenant
from milvane.media.objects import Place
from milvane.settings import Settings
from milvane.storage.database import Database

_PIECE_BYTES = 1024 * 1024
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


@dataclass(frozen=True, slots=True)
class MediaOrder:
    """Files to keep."""

    files: tuple[Path, ...]
    tenant: str
    bucket: str
    prefix: str
    lasts_s: float
    """How long the addresses are to be good."""
    url: str | None
    """Address of the HTTP port; none for that of the settings."""


def open_keyring(records: Records) -> Keyring:
    """Open what derives the secrets of access keys."""
    settings = records.settings
    return Keyring.open(folder_of(settings.media, settings.server.data_dir))


def put_files(records: Records, order: MediaOrder) -> list[dict[str, Any]]:
    """
    Keep files.

    Returns:
        Of each, in their order: ``file``, ``bucket``, ``key``, ``url`` and ``expires_at``.

    Raises:
        InvalidInput: If two have the same name, or addresses cannot be as is asked for.
    """
    settings = records.settings
    base_url = order.url or _base_url(settings)
    if order.lasts_s > settings.media.max_url_s:
        raise InvalidInput(
            f"an address is good for at most {settings.media.max_url_s:g} seconds: have the "
            "operator raise media.max_url_s"
        )
    names = [file.name for file in order.files]
    if len(set(names)) < len(names):
        raise InvalidInput("two of the files have the same name: put them with different --prefix")

    async def work(database: Database) -> list[dict[str, Any]]:
        async with open_desk(database, settings.media, settings.server.data_dir) as desk:
            now = desk.store.clock()
            key = await database.write(
                lambda connection: key_of_tenant(connection, order.tenant, now)
            )
            return [await _put(desk, key, order, base_url, file) for file in order.files]

    return anyio.run(partial(records.run, work))


async def _put(
    desk: MediaDesk, key: AccessKey, order: MediaOrder, base_url: str, file: Path
) -> dict[str, Any]:
    name = f"{order.prefix.strip('/')}/{file.name}".lstrip("/")
    place = Place(order.tenant, order.bucket, name)
    content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    async with desk.store.receive(Arrival(place, content_type)) as incoming:
        async with await anyio.open_file(file, "rb") as content:
            while piece := await content.read(_PIECE_BYTES):
                await incoming.write(piece)
        await incoming.complete()
    expires_at = desk.store.clock() + timedelta(seconds=order.lasts_s)
    return {
        "file": str(file),
        "bucket": place.bucket,
        "key": place.key,
        "url": desk.sign(base_url, place, key, expires_at=expires_at),
        "expires_at": expires_at.replace(microsecond=0),
    }


def _base_url(settings: Settings) -> str:
    if settings.media.public_url is not None:
        return settings.media.public_url
    server = settings.server
    if not server.http_port:
        raise InvalidInput("say with --url where the server listens: it chooses a port by itself")
    host = _ANY_ADDRESS.get(server.host, f"[{server.host}]" if ":" in server.host else server.host)
    return f"{'https' if settings.tls.is_on else 'http'}://{host}:{server.http_port}"
