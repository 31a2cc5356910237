"""What was fetched is kept within a bound, for its tenant, and is what it was when it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drawn_media import drawn_image
from media_origins import Origin, Reply, served_origin
from media_readings import HOME, data_uri, reading, refusal
from milvane.domain.contents import MediaFacts, MediaPart
from milvane.domain.errors import Overloaded, ServiceError
from milvane.domain.models import Modality
from milvane.media.fetching.fetcher import Validators
from milvane.media.keeping.cache import Held, MediaCache


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A server on loopback."""
    async with served_origin() as served:
        yield served


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now_s


@asynccontextmanager
async def keeping(folder: Path, max_bytes: int = 1000) -> AsyncIterator[MediaCache]:
    """Open a cache."""
    async with MediaCache(folder, max_bytes, clock=Clock()) as cache:
        yield cache


async def keep(cache: MediaCache, content: bytes) -> Held:
    """Keep bytes as an image of one pixel."""
    async with cache.draft() as draft:
        await draft.write(content)
        digest = await draft.seal()
        facts = MediaFacts(digest, Modality.IMAGE, "png", len(content), 1, 1)
        return await cache.add(draft, facts)


def files_of(folder: Path) -> list[str]:
    """Name the files of a cache."""
    return sorted(
        path.name for part in ("contents", "incoming") for path in (folder / part).iterdir()
    )


# --- addresses -----------------------------------------------------------------------------------


async def test_an_address_is_asked_once_however_it_is_signed(
    tmp_path: Path, origin: Origin
) -> None:
    """The same object, signed anew, is not fetched again while it is fresh; another tenant's is."""
    origin.replies["/a"] = Reply(drawn_image())
    async with reading(tmp_path, **HOME) as reader:
        for query in ("Expires=1&Signature=a", "Expires=2&Signature=b", "X-Amz-Signature=c", ""):
            await reader.fetch(MediaPart(f"{origin.url}/a?{query}"), tenant="one")
        assert len(origin.asked) == 1
        await reader.fetch(MediaPart(f"{origin.url}/a?size=2"), tenant="one")
        assert len(origin.asked) == 2
        await reader.fetch(MediaPart(f"{origin.url}/a"), tenant="two")
        assert len(origin.asked) == 3


async def test_many_who_want_one_address_ask_once(tmp_path: Path, origin: Origin) -> None:
    """Calls at the same time wait for the one request, and all have what it brought."""
    origin.replies["/a"] = Reply(drawn_image())
    async with reading(tmp_path, **HOME) as reader:
        found = await asyncio.gather(
            *(reader.fetch(MediaPart(f"{origin.url}/a")) for _ in range(20))
        )
    assert len(origin.asked) == 1
    assert len({each.facts for each in found}) == 1


async def test_what_is_old_is_asked_about(tmp_path: Path, origin: Origin) -> None:
    """An unchanged object is not sent again, a changed one is, one that is refused is refused."""
    first, second = drawn_image(), drawn_image(width=10)

    def tagged(head: list[str]) -> Reply:
        is_known = 'If-None-Match: "1"' in head
        return Reply(status="304 Not Modified") if is_known else Reply(first, headers=['ETag: "1"'])

    origin.replies["/a"] = tagged
    async with reading(tmp_path, **HOME, fresh_s=0) as reader:
        one = await reader.fetch(MediaPart(f"{origin.url}/a"))
        again = await reader.fetch(MediaPart(f"{origin.url}/a"))
        assert again.facts == one.facts
        assert len(origin.asked) == 2

        origin.replies["/a"] = Reply(second, headers=["Last-Modified: some day"])
        changed = await reader.fetch(MediaPart(f"{origin.url}/a"))
        assert changed.facts.width == 10
        origin.replies["/a"] = Reply(status="403 Forbidden")
        assert await refusal(reader, f"{origin.url}/a")
    assert "If-Modified-Since: some day" in origin.asked[-1]


async def test_rules_hold_for_what_is_known(tmp_path: Path, origin: Origin) -> None:
    """An address that the operator closes is closed though what it held is here."""
    origin.replies["/a"] = Reply(drawn_image())
    async with reading(tmp_path, **HOME) as reader:
        await reader.fetch(MediaPart(f"{origin.url}/a"))
    async with reading(tmp_path, **HOME) as reader:
        await reader.fetch(MediaPart(f"{origin.url}/a"))
    assert len(origin.asked) == 1
    async with reading(tmp_path, **HOME, denied_domains=["127.0.0.1"]) as reader:
        assert "nothing is fetched from" in await refusal(reader, f"{origin.url}/a")


# --- files ---------------------------------------------------------------------------------------


async def test_what_is_unused_for_longest_makes_room(tmp_path: Path) -> None:
    """The files stay within their bound; the ones that are held stay, the oldest others go."""
    async with keeping(tmp_path) as cache:
        contents = [bytes([number]) * 300 for number in range(4)]
        held = [await keep(cache, content) for content in contents[:3]]
        held[1].close()
        held[2].close()
        used = await cache.find(held[1].facts.digest)
        assert used is not None
        used.close()
        await keep(cache, contents[3])
        assert cache.kept_bytes <= 1000
        assert await cache.find(held[0].facts.digest) is not None  # held
        assert await cache.find(held[1].facts.digest) is not None  # used since
        assert await cache.find(held[2].facts.digest) is None
    assert len(files_of(tmp_path)) == 3


async def test_nothing_is_taken_in_where_all_is_in_use(tmp_path: Path) -> None:
    """A draft that has no room is refused, leaves nothing, and can be tried again."""
    async with keeping(tmp_path) as cache:
        held = await keep(cache, b"a" * 600)
        with pytest.raises(Overloaded):
            await keep(cache, b"b" * 600)
        assert cache.kept_bytes == 600
        assert len(files_of(tmp_path)) == 1
        held.close()
        held.close()
        await keep(cache, b"b" * 600)
        assert cache.kept_bytes == 600


async def test_equal_bytes_are_kept_once(tmp_path: Path) -> None:
    """Two drafts of equal bytes become one file."""
    async with keeping(tmp_path) as cache:
        first, second = await asyncio.gather(keep(cache, b"a" * 300), keep(cache, b"a" * 300))
        assert first.path == second.path
        assert cache.kept_bytes == 300


async def test_a_restart_knows_what_was_kept(tmp_path: Path) -> None:
    """Files, facts and addresses survive; what is damaged, cut or unknown does not."""
    async with keeping(tmp_path) as cache:
        kept = [(await keep(cache, bytes([number]) * 200)).facts for number in range(4)]
        for number, facts in enumerate(kept):
            await cache.learn(bytes([number]), facts.digest, Validators('"1"', "then"))
    folder = tmp_path / "contents"
    (folder / kept[1].digest.hex()).write_bytes(b"x" * 200)  # as long, and not the same
    (folder / kept[2].digest.hex()).write_bytes(b"x" * 10)
    (folder / ("0" * 64)).write_bytes(b"unknown")
    (tmp_path / "incoming" / "left").write_bytes(b"half")
    async with keeping(tmp_path) as cache:
        found = [await cache.find(facts.digest) for facts in kept]
        assert [each is not None for each in found] == [True, False, False, True]
        assert found[0] is not None
        assert found[0].facts == kept[0]
        known = [cache.address(bytes([number])) for number in range(4)]
        assert [each is not None for each in known] == [True, False, False, True]
        assert cache.kept_bytes == 400
    assert len(files_of(tmp_path)) == 2


@pytest.mark.parametrize("damage", [b"not a database" * 100, b""])
async def test_a_damaged_index_costs_only_the_cache(tmp_path: Path, damage: bytes) -> None:
    """An index that cannot be read is begun anew, without files that nobody knows."""
    async with keeping(tmp_path) as cache:
        await keep(cache, b"a" * 300)
    (tmp_path / "index.sqlite").write_bytes(damage)
    async with keeping(tmp_path) as cache:
        assert cache.kept_bytes == 0
        await keep(cache, b"a" * 300)
    assert len(files_of(tmp_path)) == 1


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A disk that fails is an error of the service, and no picture's fault."""
    async with reading(tmp_path) as reader:
        incoming = tmp_path / "media-cache" / "incoming"
        incoming.rmdir()
        incoming.write_bytes(b"")
        with pytest.raises(ServiceError, match="cannot be kept"):
            await reader.fetch(MediaPart(data_uri(drawn_image())))


async def test_a_cancelled_call_holds_nothing(tmp_path: Path, origin: Origin) -> None:
    """Whoever goes away while something is fetched leaves neither a draft nor a hold."""
    origin.replies["/slow"] = Reply(drawn_image()[:50], stalls=True)
    async with reading(tmp_path, **HOME) as reader:
        task = asyncio.create_task(reader.fetch(MediaPart(f"{origin.url}/slow")))
        await origin.arrival("/slow")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await reader.fetch(MediaPart(data_uri(drawn_image())))
    assert len(files_of(tmp_path / "media-cache")) == 1
