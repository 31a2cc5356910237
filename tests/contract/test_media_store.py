"""The store of media, on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from media_shops import MINE, THEIRS, Shop, open_shop
from milvane.domain.errors import Conflict, FileTooLarge, NotFound, QuotaExceeded
from milvane.media.arriving import Arrival
from milvane.media.errors import NoSuchObject
from milvane.media.keys import Keyring, create_key, find_key, key_of_tenant, revoke_key
from milvane.media.objects import MediaObject, Place
from milvane.media.records import Listing
from milvane.media.settings import MediaSettings
from milvane.storage.settings import StorageSettings

SETTINGS = MediaSettings(
    max_objects=3, max_object_bytes=1000, max_total_bytes=1500, max_tenant_bytes=1200
)


@pytest.fixture
async def shop(database_url: SecretStr | None, tmp_path: Path) -> AsyncIterator[Shop]:
    """An empty store with small limits."""
    storage = StorageSettings(database_url=database_url)
    async with open_shop(tmp_path, SETTINGS, storage) as shop:
        yield shop


async def keep(shop: Shop, key: str, content: bytes, tenant: str = MINE) -> MediaObject:
    """Put an object, in two pieces."""
    async with shop.desk.store.receive(Arrival(Place(tenant, "bucket", key), "a/b")) as incoming:
        await incoming.write(content[:3])
        await incoming.write(content[3:])
        return await incoming.complete()


async def read(shop: Shop, key: str, tenant: str = MINE) -> bytes:
    """Read an object."""
    _, reading = await shop.desk.store.open(Place(tenant, "bucket", key))
    async with aclosing(reading):
        return b"".join([piece async for piece in reading.pieces()])


async def test_equal_contents_are_kept_once_and_for_as_long_as_needed(shop: Shop) -> None:
    """Two objects share a content; it goes when the last of them is replaced or deleted."""
    await keep(shop, "a", b"same")
    await keep(shop, "b", b"same", THEIRS)
    assert len(shop.contents()) == 1
    await keep(shop, "a", b"other")
    assert await read(shop, "b", THEIRS) == b"same"
    await shop.desk.store.delete(Place(THEIRS, "bucket", "b"))
    assert len(shop.contents()) == 1
    assert await read(shop, "a") == b"other"
    with pytest.raises(NoSuchObject):
        await read(shop, "b", THEIRS)


async def test_full_store_takes_nothing_more(shop: Shop) -> None:
    """Each limit refuses the object that would pass it, and a refused one leaves nothing."""
    with pytest.raises(FileTooLarge):
        await keep(shop, "large", bytes(1001))
    await keep(shop, "a", bytes(1000))
    with pytest.raises(QuotaExceeded, match="max_tenant_bytes"):
        await keep(shop, "b", bytes(201))
    with pytest.raises(QuotaExceeded, match="max_total_bytes"):
        await keep(shop, "b", bytes(501), THEIRS)
    await keep(shop, "a", b"1" * 1000)  # what it replaces makes room
    await keep(shop, "b", b"2")
    await keep(shop, "c", b"3")
    with pytest.raises(QuotaExceeded):
        await keep(shop, "d", b"4")
    assert len(shop.contents()) == 3
    assert shop.leftovers() == []


async def test_start_removes_what_no_object_has(shop: Shop) -> None:
    """Leftovers of crashes go; objects, and what somebody is writing just now, stay."""
    await keep(shop, "a", b"abc")
    (shop.folder / "contents" / ("0" * 64)).write_bytes(b"unrecorded")
    (shop.folder / "incoming" / "left").write_bytes(b"half")
    store = shop.desk.store
    async with store.receive(Arrival(Place(MINE, "bucket", "b"), "a/b")) as incoming:
        await incoming.write(b"abcd")
        await shop.desk.store.database.run(incoming._flush)
        await store.prepare()
        assert len(shop.leftovers()) == 1
        assert len(shop.contents()) == 1
        await incoming.complete()
    assert (await read(shop, "a"), await read(shop, "b")) == (b"abc", b"abcd")


async def test_list_is_in_the_order_of_bytes(shop: Shop) -> None:
    """Upper case comes before lower case, and prefixes are taken literally."""
    for key in ("b%", "B", "b_"):
        await keep(shop, key, b"x")
    for prefix, after, keys in (
        ("", "", ["B", "b%", "b_"]),
        ("b%", "", ["b%"]),
        ("", "b%", ["b_"]),
    ):
        listing = Listing(MINE, "bucket", 9, prefix, after)
        found = await shop.desk.store.list_objects(listing)
        assert [each.place.key for each in found] == keys


async def test_leftovers_of_other_servers_are_removed_in_time(shop: Shop) -> None:
    """What another server's crash has left goes when something is stored an hour later."""
    (shop.folder / "incoming" / "left").write_bytes(b"half")
    (shop.folder / "contents" / ("0" * 64)).write_bytes(b"unrecorded")
    for off_s, left in ((0, 1), (3601, 0)):
        shop.clock.off_s = off_s
        arrival = Arrival(Place(MINE, "002test", f"{off_s}.txt"), "text/plain")
        async with shop.desk.store.receive(arrival) as incoming:
            await incoming.write(str(off_s).encode())
            await incoming.complete()
        assert len(shop.leftovers()) == left
    assert len(shop.contents()) == 2


async def test_keys_end(shop: Shop) -> None:
    """A key is good until its time, or until it is revoked, and has a secret of its own."""
    database, now = shop.desk.store.database, shop.clock()
    later = now + timedelta(seconds=60)
    make = partial(create_key, label="x", tenant=MINE, now=now, expires_at=later)
    key = await database.write(make)
    assert await database.read(lambda c: find_key(c, key.access_key_id, now)) == key
    assert await database.read(lambda c: find_key(c, key.access_key_id, later)) is None
    await database.write(lambda c: revoke_key(c, key.access_key_id, now))
    assert await database.read(lambda c: find_key(c, key.access_key_id, now)) is None
    with pytest.raises(NotFound):
        await database.write(lambda c: revoke_key(c, key.access_key_id, now))
    assert await database.write(lambda c: key_of_tenant(c, MINE, now)) == shop.keys[MINE]
    new = await database.write(lambda c: key_of_tenant(c, "new", now))
    assert await database.write(lambda c: key_of_tenant(c, "new", now)) == new
    assert shop.keyring.secret_of("a") != shop.keyring.secret_of("b")


def test_secret_is_made_once_and_hidden(tmp_path: Path) -> None:
    """Every process derives the same secrets; a file that is not ours is not replaced."""
    secret = Keyring.open(tmp_path).secret_of("id")
    path = tmp_path / "secret.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keyring.open(tmp_path).secret_of("id") == secret
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("torn")
    with pytest.raises(Conflict, match=r"secret\.key"):
        Keyring.open(tmp_path)
