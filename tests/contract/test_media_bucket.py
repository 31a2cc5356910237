"""The store of media with its contents in a bucket, on SQLite, and on PostgreSQL where it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from drawn_media import drawn_image
from elsewhere import BUCKET, Elsewhere, served_elsewhere
from media_readings import put as put_signed
from media_readings import reading
from media_shops import MINE, THEIRS, Shop, open_shop
from milvane.domain.contents import MediaPart
from milvane.domain.errors import Conflict, FileTooLarge, QuotaExceeded, UpstreamUnavailable
from milvane.media.arriving import Arrival
from milvane.media.errors import NoSuchObject
from milvane.media.objects import MediaObject, Place
from milvane.media.reader import OwnStores
from milvane.media.settings import MediaSettings
from milvane.storage.settings import StorageSettings

LARGE = bytes(range(256)) * 10_000

Opening = Callable[..., AbstractAsyncContextManager[Shop]]


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """An empty store with a bucket."""
    with served_elsewhere() as store:
        yield store


def opening_of(elsewhere: Elsewhere, folder: Path, url: SecretStr | None) -> Opening:
    """Make what opens the media store, with the same records each time."""

    def open_with(
        *, has_bucket: bool = True, limits: dict[str, int] | None = None, **changes: Any
    ) -> AbstractAsyncContextManager[Shop]:
        bucket = elsewhere.settings(**changes) if has_bucket else None
        settings = MediaSettings(bucket=bucket, **(limits or {}))
        return open_shop(folder, settings, StorageSettings(database_url=url))

    return open_with


@pytest.fixture
def opening(elsewhere: Elsewhere, tmp_path: Path) -> Opening:
    """What opens the media store, on SQLite."""
    return opening_of(elsewhere, tmp_path, None)


@pytest.fixture
async def shop(opening: Opening) -> AsyncIterator[Shop]:
    """An empty media store whose contents are in the bucket."""
    async with opening() as shop:
        yield shop


@pytest.fixture
async def shop_on_each(
    elsewhere: Elsewhere, tmp_path: Path, database_url: SecretStr | None
) -> AsyncIterator[Shop]:
    """The same on every database that there is."""
    async with opening_of(elsewhere, tmp_path, database_url)() as shop:
        yield shop


async def keep(
    shop: Shop, key: str, content: bytes, tenant: str = MINE, **said: Any
) -> MediaObject:
    """Put an object."""
    arrival = Arrival(Place(tenant, "bucket", key), "a/b", **said)
    async with shop.desk.store.receive(arrival) as incoming:
        await incoming.write(content)
        return await incoming.complete()


async def read(
    shop: Shop, key: str, tenant: str = MINE, part: tuple[int, int] | None = None
) -> bytes:
    """Read an object, or a part of it."""
    choose = {} if part is None else {"choose": lambda _: part}
    _, bytes_of = await shop.desk.store.open(Place(tenant, "bucket", key), **choose)
    async with aclosing(bytes_of):
        return b"".join([piece async for piece in bytes_of.pieces()])


async def sweep_later(shop: Shop) -> None:
    """Have an hour pass, and what is left over removed."""
    shop.clock.off_s += 3700
    await shop.desk.store.prepare()


@pytest.mark.parametrize("prefix", ["", "a/b-c/"])
@pytest.mark.parametrize("content", [b"", b"abc", LARGE])
async def test_contents_are_in_the_bucket_alone(
    opening: Opening, elsewhere: Elsewhere, content: bytes, prefix: str
) -> None:
    """An object is put and got with requests that are signed well; no file of it stays here."""
    async with opening(prefix=prefix) as shop:
        found = await keep(shop, "a", content)
        assert elsewhere.contents() == [content]
        assert next(iter(elsewhere.objects)).startswith(
            f"/{BUCKET}/{prefix}{found.content.sha256}-"
        )
        assert await read(shop, "a") == content
        if len(content) > 2:
            assert await read(shop, "a", part=(1, 2)) == content[1:3]
        assert (shop.contents(), shop.leftovers()) == ([], [])
        await shop.desk.store.delete(Place(MINE, "bucket", "a"))
    assert elsewhere.objects == {}
    assert elsewhere.refusals == []


async def test_equal_contents_are_kept_once_and_for_as_long_as_needed(
    shop_on_each: Shop, elsewhere: Elsewhere
) -> None:
    """Two objects share a content; it goes when the last of them is replaced or deleted."""
    shop = shop_on_each
    await keep(shop, "a", b"same")
    await keep(shop, "b", b"same", THEIRS)
    assert elsewhere.contents() == [b"same"]
    assert await read(shop, "b", THEIRS) == b"same"
    await keep(shop, "a", b"other")
    await shop.desk.store.delete(Place(MINE, "bucket", "a"))
    assert elsewhere.contents() == [b"same"]
    await shop.desk.store.delete(Place(THEIRS, "bucket", "b"))
    with pytest.raises(NoSuchObject):
        await read(shop, "b", THEIRS)
    assert elsewhere.contents() == []


async def test_refused_objects_are_not_even_sent(opening: Opening, elsewhere: Elsewhere) -> None:
    """What is too large, too much, or may not replace anything never reaches the bucket."""
    limits = {"max_object_bytes": 100, "max_objects": 1}
    async with opening(limits=limits) as shop:
        await keep(shop, "a", b"old")
        sent = list(elsewhere.asked)
        with pytest.raises(FileTooLarge):
            await keep(shop, "a", bytes(101))
        with pytest.raises(QuotaExceeded):
            await keep(shop, "b", b"x")
        with pytest.raises(Conflict):
            await keep(shop, "a", b"new", forbids_overwriting=True)
        assert elsewhere.asked == sent
        assert await read(shop, "a") == b"old"


@pytest.mark.parametrize(
    "wrong", [{"secret_access_key": "x"}, {"region": "there"}, {"bucket": "no"}]
)
async def test_refused_keys_change_nothing(
    opening: Opening, elsewhere: Elsewhere, wrong: dict[str, str]
) -> None:
    """With wrong keys, or of another place, nothing is stored, and the caller may try again."""
    async with opening(**wrong) as shop:
        with pytest.raises(UpstreamUnavailable, match="nothing has changed") as failure:
            await keep(shop, "a", b"abc")
        assert failure.value.retryable
        with pytest.raises(NoSuchObject):
            await shop.desk.store.find(Place(MINE, "bucket", "a"))
        assert shop.leftovers() == []
        said = len(elsewhere.asked) + len(elsewhere.refusals)
        await sweep_later(shop)
        assert len(elsewhere.asked) + len(elsewhere.refusals) == said  # there is nothing to remove
    assert elsewhere.objects == {}


async def test_failing_bucket_changes_nothing(shop: Shop, elsewhere: Elsewhere) -> None:
    """While the bucket fails, objects stay what they were, and then are there again."""
    await keep(shop, "a", b"old")
    elsewhere.failing = {"PUT", "GET", "DELETE"}
    with pytest.raises(UpstreamUnavailable):
        await keep(shop, "a", b"new")
    with pytest.raises(UpstreamUnavailable):
        await read(shop, "a")
    elsewhere.failing = set()
    assert await read(shop, "a") == b"old"
    elsewhere.cut = {"GET"}
    with pytest.raises(UpstreamUnavailable):
        await read(shop, "a")
    assert shop.leftovers() == []


async def test_deleted_object_is_gone_although_the_bucket_fails(
    shop_on_each: Shop, elsewhere: Elsewhere
) -> None:
    """A delete succeeds at once; its bytes go from the bucket when that answers again."""
    shop = shop_on_each
    await keep(shop, "a", b"abc")
    elsewhere.failing = {"DELETE"}
    await shop.desk.store.delete(Place(MINE, "bucket", "a"))
    with pytest.raises(NoSuchObject):
        await read(shop, "a")
    await shop.desk.store.prepare()  # a server starts all the same
    assert elsewhere.contents() == [b"abc"]
    await keep(shop, "b", b"abc")  # equal to what is to be removed
    elsewhere.failing = set()
    shop.clock.off_s = 3700
    await keep(shop, "c", b"of the next hour")
    assert sorted(elsewhere.contents()) == [b"abc", b"of the next hour"]
    assert await read(shop, "b") == b"abc"


async def test_silent_bucket_is_given_up(opening: Opening, elsewhere: Elsewhere) -> None:
    """A bucket that stops to take bytes, or to answer, is not waited for longer than is set."""
    async with opening(timeout_s=0.2) as shop:
        elsewhere.halts_at = "answer"
        with pytest.raises(UpstreamUnavailable):
            await keep(shop, "a", b"abc")
        assert elsewhere.contents() == [b"abc"]  # it has it, and nobody knows
        await shop.desk.store.prepare()
        assert elsewhere.contents() == [b"abc"]  # somebody may still be putting it
        await sweep_later(shop)
        assert elsewhere.contents() == []
    async with opening(endpoint="http://127.0.0.1:1") as shop:
        with pytest.raises(UpstreamUnavailable):
            await keep(shop, "a", b"abc")


async def test_what_was_swept_meanwhile_is_not_recorded(
    shop_on_each: Shop, elsewhere: Elsewhere
) -> None:
    """An upload that takes so long that it is removed as left over fails, and loses nothing."""
    shop = shop_on_each
    await keep(shop, "a", b"old")
    elsewhere.halts_at = "answer"
    putting = asyncio.create_task(keep(shop, "a", b"new"))
    await asyncio.to_thread(elsewhere.reached.wait, 10)
    elsewhere.failing = {"DELETE"}
    await sweep_later(shop)
    elsewhere.goes_on.set()
    with pytest.raises(UpstreamUnavailable, match="too long"):
        await putting
    elsewhere.failing = set()
    await shop.desk.store.prepare()
    assert await read(shop, "a") == b"old"
    assert elsewhere.contents() == [b"old"]


@pytest.mark.parametrize("hides", [True, False])
async def test_reader_gets_what_replaced_what_it_was_about_to_get(
    shop: Shop, elsewhere: Elsewhere, hides: bool
) -> None:
    """An object that is replaced while it is opened is read as it is now, never as missing."""
    elsewhere.hides = hides
    await keep(shop, "a", b"old")
    elsewhere.halts_at = "get"
    getting = asyncio.create_task(read(shop, "a"))
    await asyncio.to_thread(elsewhere.reached.wait, 10)
    elsewhere.halts_at = ""
    await keep(shop, "a", b"new")
    elsewhere.goes_on.set()
    assert await getting == b"new"


async def test_event_loop_goes_on_while_the_bucket_is_slow(
    shop: Shop, elsewhere: Elsewhere
) -> None:
    """While one upload waits for the bucket, records are read and written, and objects got."""
    await keep(shop, "a", b"old")
    elsewhere.halts_at = "body"
    putting = asyncio.create_task(keep(shop, "a", LARGE))
    await asyncio.to_thread(elsewhere.reached.wait, 10)
    assert await read(shop, "a") == b"old"
    await keep(shop, "b", b"small")
    assert await read(shop, "b") == b"small"
    elsewhere.goes_on.set()
    await putting
    assert await read(shop, "a") == LARGE


async def test_objects_of_the_folder_stay_readable(opening: Opening, elsewhere: Elsewhere) -> None:
    """With a bucket, what was kept before is read from the folder, until it is replaced."""
    async with opening(has_bucket=False) as shop:
        await keep(shop, "a", b"of the folder")
        await keep(shop, "b", b"too")
    async with opening() as shop:
        assert await read(shop, "a") == b"of the folder"
        await keep(shop, "a", b"of the bucket")
        await shop.desk.store.delete(Place(MINE, "bucket", "b"))
        assert shop.contents() == []
        assert await read(shop, "a") == b"of the bucket"
    async with opening(has_bucket=False) as shop:  # taken out of the settings
        with pytest.raises(UpstreamUnavailable):
            await read(shop, "a")
    async with opening() as shop:
        assert await read(shop, "a") == b"of the bucket"
    assert elsewhere.contents() == [b"of the bucket"]


async def test_signed_address_is_read_from_the_bucket(
    shop: Shop, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """What embeds reads an address of the store through the bucket, and equal bytes once."""
    urls = [await put_signed(shop, name, drawn_image()) for name in ("a.png", "b.png")]
    stores = OwnStores(desk=shop.desk)
    async with reading(tmp_path / "reader", stores, fetches_addresses=False) as reader:
        elsewhere.failing = {"GET"}
        with pytest.raises(
            UpstreamUnavailable
        ):  # another time it may be read, so it is not refused
            await reader.fetch(MediaPart(urls[0]), tenant=MINE)
        elsewhere.failing = set()
        elsewhere.asked.clear()
        for source in (*urls, "oss://002test/a.png"):
            media = await reader.fetch(MediaPart(source), tenant=MINE)
            assert media.facts.format == "png"
            media.close()
        assert sum(each.startswith("GET") for each in elsewhere.asked) == 1


def test_settings_hold_an_object_to_one_request() -> None:
    """With a bucket, no object may be larger than one request of S3 takes; names stay names."""
    bucket = Elsewhere(url="http://10.0.0.1").settings()
    with pytest.raises(ValidationError, match="max_object_bytes"):
        MediaSettings(bucket=bucket, max_object_bytes=5 * 1024**3 + 1)
    for prefix in ("a", "/a/", "a//", "../", "a b/", "a?/"):
        with pytest.raises(ValidationError, match="prefix"):
            Elsewhere(url="http://10.0.0.1").settings(prefix=prefix)
