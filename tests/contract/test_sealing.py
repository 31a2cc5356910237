"""Secrets that SQL keeps, on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, insert, select

from milvane.control_plane.commands import Change
from milvane.domain.errors import Conflict
from milvane.metering.alerts import shelf
from milvane.storage.alert_tables import ALERT_CHANNELS
from milvane.storage.database import Database
from milvane.storage.sealing import KEY_FILE, Sealer, is_sealed
from milvane.storage.settings import StorageSettings
from offices import FakeClock

URL = "json://ops.example.org/s3cret-path"


@pytest.fixture
async def database(database_url: SecretStr | None, tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty database."""
    async with Database(StorageSettings(database_url=database_url), tmp_path) as database:
        yield database


async def change(database: Database, work: Any) -> Any:
    """Change something, as an operator does."""
    return await database.write(lambda c: work(Change(c, "ann", FakeClock().now)))


def stored(connection: Connection) -> list[str]:
    """Read the addresses as they lie in the database."""
    return list(connection.execute(select(ALERT_CHANNELS.c.url)).scalars())


def test_secret_is_sealed_differently_each_time_and_opens(tmp_path: Path) -> None:
    """Also by another process with the same file, which only the server's user can read."""
    path = tmp_path / "below" / KEY_FILE
    first, second = Sealer(path).seal(URL), Sealer(path).seal(URL)
    assert first != second
    assert [Sealer(path).unseal(each) for each in (first, second)] == [URL, URL]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "s3cret" not in first


def test_lost_key_is_said(tmp_path: Path) -> None:
    """With the file that would help; what was never sealed can still be read."""
    sealed = Sealer(tmp_path / "one").seal(URL)
    with pytest.raises(Conflict, match=r"another key than that in .*two"):
        Sealer(tmp_path / "two").unseal(sealed)
    (tmp_path / "three").write_text("not a key")
    with pytest.raises(Conflict, match="does not hold a secret"):
        Sealer(tmp_path / "three").seal(URL)
    assert Sealer(tmp_path / "two").unseal(URL) == URL


async def test_address_of_a_channel_is_sealed_in_the_database(database: Database) -> None:
    """Nothing of it can be read there, also after a change; who tells somebody opens it."""
    made = await change(database, partial(shelf.create_channel, name="ops", url=URL))
    assert made.kind == "json"
    moved = partial(shelf.change_channel, name="ops", to_name="ops", url=f"{URL}-2")
    await change(database, moved)
    [found] = await database.read(stored)
    assert is_sealed(found)
    assert "s3cret" not in found
    read = partial(shelf.read_address, channel_id=made.channel_id)
    assert await database.read(read) == f"{URL}-2"


async def test_addresses_of_an_older_version_are_sealed_once(database: Database) -> None:
    """They work before that, and after."""
    row = {"channel_id": "channel-1", "name": "old", "url": URL, "created_at": FakeClock().now}
    await database.write(lambda c: c.execute(insert(ALERT_CHANNELS).values(row)) and None)
    read = partial(shelf.read_address, channel_id="channel-1")
    assert await database.read(read) == URL
    assert [await database.write(shelf.seal_addresses) for _ in range(2)] == [1, 0]
    assert all(map(is_sealed, await database.read(stored)))
    assert await database.read(read) == URL


async def test_channel_whose_key_is_lost_can_be_given_a_new_address(
    database: Database, tmp_path: Path
) -> None:
    """It is listed as unreadable until then."""
    row = {
        "channel_id": "channel-1",
        "name": "old",
        "url": Sealer(tmp_path / "lost").seal(URL),
        "created_at": FakeClock().now,
    }
    await database.write(lambda c: c.execute(insert(ALERT_CHANNELS).values(row)) and None)
    [channel] = await database.read(shelf.list_channels)
    assert channel.kind == shelf.UNREADABLE
    moved = partial(shelf.change_channel, name="old", to_name="new", url=URL)
    assert (await change(database, moved)).kind == "json"
