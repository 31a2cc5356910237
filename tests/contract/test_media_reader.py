"""What reads media keeps the promises of its port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from drawn_media import drawn_image, drawn_video
from media_origins import Origin, Reply, served_origin
from media_readings import HOME, VIEWING, data_uri, put, reading, refusal
from media_shops import MINE, THEIRS, open_shop
from milvane.domain.contents import MediaPart
from milvane.domain.errors import MediaRejected
from milvane.domain.files import FilePurpose
from milvane.domain.models import Modality
from milvane.domain.pictures import Clip, Picture, Viewing
from milvane.media.reader import OwnStores
from milvane.storage.database import Database
from milvane.storage.files import FileStore
from milvane.storage.settings import StorageSettings


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A server on loopback."""
    async with served_origin() as served:
        yield served


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


async def test_media_is_what_the_caller_says_it_is(tmp_path: Path, origin: Origin) -> None:
    """A video where an image is due is refused, and the other way round."""
    origin.replies["/a"] = Reply(drawn_image())
    async with reading(tmp_path, **HOME) as reader:
        await reader.fetch(MediaPart(f"{origin.url}/a"))
        with pytest.raises(MediaRejected, match="where a video is due"):  # which it knows by now
            await reader.fetch(MediaPart(f"{origin.url}/a", Modality.VIDEO))
        for content, due, words in (
            (drawn_video(), Modality.IMAGE, "it is a video, where an image is due"),
            (drawn_image(), Modality.VIDEO, "it is an image, where a video is due"),
        ):
            for _ in range(2):  # as it comes, and as it is known
                with pytest.raises(MediaRejected, match=words):
                    await reader.fetch(MediaPart(data_uri(content), due))
                await reader.fetch(MediaPart(data_uri(content)))


async def test_a_video_is_refused_by_who_takes_none(tmp_path: Path) -> None:
    """A network that takes images only is shown no video."""
    async with reading(tmp_path) as reader:
        media = await reader.fetch(MediaPart(data_uri(drawn_video())))
        with pytest.raises(MediaRejected, match="images only"):
            await reader.see(media, Viewing(VIEWING.picture))


async def test_the_models_limit_of_bytes_holds(tmp_path: Path) -> None:
    """What has more bytes than a model takes is refused, known already or not."""
    content = drawn_image()
    async with reading(tmp_path) as reader:
        exact = await reader.fetch(MediaPart(data_uri(content)), max_bytes=len(content))
        assert exact.facts.size_bytes == len(content)
        assert "more than" in await refusal(reader, data_uri(content), max_bytes=len(content) - 1)


async def test_a_media_part_hides_its_source() -> None:
    """Neither a part nor a message shows a signature."""
    part = MediaPart("https://a.example/x?Signature=s3cret")
    assert "s3cret" not in repr(part)


async def test_an_object_of_another_tenant_is_none(tmp_path: Path) -> None:
    """What `oss://` names is the caller's tenant's, or nothing."""
    async with open_shop(tmp_path / "shop") as shop:
        await put(shop, "a.png", drawn_image())
        async with reading(tmp_path, OwnStores(shop.desk)) as reader:
            media = await reader.fetch(MediaPart("oss://002test/a.png"), tenant=MINE)
            assert media.facts.format == "png"
            said = await refusal(reader, "oss://002test/a.png", tenant=THEIRS)
            assert said == await refusal(reader, "oss://002test/b.png", tenant=MINE)


async def test_a_signature_that_is_over_is_refused(tmp_path: Path) -> None:
    """An address of the own store is good as long as it is signed for, known already or not."""
    async with open_shop(tmp_path / "shop") as shop:
        signed = await put(shop, "a.png", drawn_image(), good_s=60)
        async with reading(tmp_path, OwnStores(shop.desk)) as reader:
            (await reader.fetch(MediaPart(signed))).close()
            changed = signed.replace("a.png", "b.png")
            assert "signature" in await refusal(reader, changed)
            shop.clock.off_s = 61
            assert "has expired" in await refusal(reader, signed)


async def test_an_upload_is_read_by_its_key(tmp_path: Path) -> None:
    """What was uploaded under a key is read by its tenant, the key escaped or not."""
    storage = StorageSettings()
    async with Database(storage, tmp_path / "db") as database:
        files = FileStore(database, tmp_path / "files", storage)
        await files.prepare()
        key = "dashscope-instant/abc/ein Bild.png"
        upload = files.receive("Bild", FilePurpose.UPLOAD, tenant=MINE, key=key)
        async with upload as incoming:
            await incoming.write(drawn_image())
            await incoming.complete()
        async with reading(tmp_path, OwnStores(files=files)) as reader:
            for name in (key, key.replace(" ", "%20")):
                media = await reader.fetch(MediaPart(f"oss://{name}"), tenant=MINE)
                assert media.facts.format == "png"
            assert "no such object" in await refusal(reader, f"oss://{key}", tenant=THEIRS)


async def test_an_object_of_a_bucket_elsewhere_is_read(tmp_path: Path, origin: Origin) -> None:
    """A bucket that the operator has named is read with their keys, by its tenants alone."""
    origin.replies["/really/dir/a b.png".replace(" ", "%20")] = Reply(drawn_image())
    keys = {"access_key_id": "id", "secret_access_key": "s3cret"}
    buckets = {"mine": {"endpoint": origin.url, "bucket": "really", "tenants": [MINE], **keys}}
    async with reading(tmp_path, buckets=buckets, fetches_addresses=False) as reader:
        for scheme in ("s3", "oss"):
            part = MediaPart(f"{scheme}://mine/dir/a b.png")
            assert (await reader.fetch(part, tenant=MINE)).facts.format == "png"
        assert len(origin.asked) == 1
        said = {
            await refusal(reader, f"s3://{name}", tenant=tenant)
            for name, tenant in (
                ("mine/dir/a b.png", THEIRS),
                ("mine/none.png", MINE),
                ("other/a.png", MINE),
            )
        }
        assert len(said) == 1
        assert "no such object" in said.pop()
    assert not any("s3cret" in line for head in origin.asked for line in head)
    assert "X-Amz-Signature=" in origin.asked[0][0]


async def test_a_foreign_address_is_not_taken_for_one_of_ours(
    tmp_path: Path, origin: Origin
) -> None:
    """What is signed elsewhere, or has parameters that we never sign, is fetched."""
    origin.replies["/a"] = Reply(drawn_image())
    async with (
        open_shop(tmp_path / "shop") as shop,
        reading(tmp_path, OwnStores(shop.desk), **HOME) as reader,
    ):
        for query in ("a=1&a=2", "OSSAccessKeyId=x&Expires=1&Signature=y", "Signature=%ff"):
            await reader.fetch(MediaPart(f"{origin.url}/a?{query}"))
    assert origin.asked


async def test_what_is_read_is_counted(tmp_path: Path, origin: Origin) -> None:
    """Times, bytes and refusals are told apart by source, by stage and by why."""
    image = drawn_image()
    origin.replies["/a.png"] = Reply(image)
    async with reading(tmp_path, **HOME) as reader:
        for source in (f"{origin.url}/a.png", f"{origin.url}/a.png", data_uri(image)):
            media = await reader.fetch(MediaPart(source))
            await reader.see(media, VIEWING)
            media.close()
        await refusal(reader, f"{origin.url}/none.png")
        await refusal(reader, data_uri(b"no image"))
        await refusal(reader, "ftp://a.example/x")
        counts = reader.counts
    assert {source: sum(times.counts) for source, times in counts.fetch_times_s.items()} == {
        "address": 2,
        "data": 1,
        "object": 0,
        "other": 0,
    }
    assert counts.arrived == {"address": 1, "data": 1}
    assert counts.arrived_bytes["address"] == len(image)
    assert sum(counts.decode_times_s[Modality.IMAGE].counts) == 3
    assert counts.decode_times_s[Modality.IMAGE].total > 0
    assert counts.refusals == {("fetch", "unreachable"): 1, ("fetch", "media_rejected"): 2}
