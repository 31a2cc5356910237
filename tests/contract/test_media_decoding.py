"""Decoding gives the pixels that models know, within limits, in processes that may die."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import signal
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from drawn_media import drawn_image, drawn_video, huge_png, shades
from milvane.domain.errors import MediaRejected, UpstreamUnavailable
from milvane.domain.pictures import Clip, Filter, Fit, Picture, Sampling, Seen, Sizing, Viewing
from milvane.media.decoding.exchange import Found
from milvane.media.decoding.pool import DecoderPool
from milvane.media.kinds import recognise
from milvane.media.reading_settings import MediaReaderSettings

GRID = Sizing(Fit.GRID, step=1, min_pixels=1, max_pixels=10**9)
"""Leaves every picture as large as it is."""
ALL_FRAMES = Sampling(GRID, fps=1000, min_frames=1, max_frames=1000)


class Desk:
    """Decodes the bytes that a test gives it."""

    def __init__(self, pool: DecoderPool, folder: Path) -> None:
        self.pool = pool
        self._path = folder / "media"

    async def look(self, content: bytes) -> Any:
        """Say what the bytes say of themselves."""
        self._path.write_bytes(content)
        return await self.pool.look(recognise(content[:4096]), self._path)

    async def see(self, content: bytes, viewing: Viewing | None = None, **options: Any) -> Seen:
        """Decode the bytes; as they are, if no viewing is given."""
        found = await self.look(content)
        kind = recognise(content[:4096])
        wanted = viewing or Viewing(GRID, ALL_FRAMES)
        return await self.pool.see(kind, self._path, wanted, found, **options)

    async def pixels(self, content: bytes, sizing: Sizing = GRID) -> np.ndarray[Any, Any]:
        """Decode the bytes of an image."""
        seen = await self.see(content, Viewing(sizing))
        assert isinstance(seen, Picture)
        return seen.pixels


@asynccontextmanager
async def decoding(folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    """Open a pool of one process, unless a test says otherwise."""
    async with DecoderPool(MediaReaderSettings(**{"decoders": 1, **settings})) as pool:
        yield Desk(pool, folder)


def saved(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """Make a file of an image."""
    out = io.BytesIO()
    image.save(out, format_name, **options)
    return out.getvalue()


# --- images --------------------------------------------------------------------------------------


async def test_every_format_of_an_image_is_decoded(tmp_path: Path) -> None:
    """Formats without loss give the pixels that were drawn, those with it nearly so."""
    async with decoding(tmp_path) as desk:
        for name in ("PNG", "BMP", "TIFF", "DIB", "SGI", "JPEG", "WEBP"):
            content = drawn_image(name)
            found = await desk.look(content)
            assert (found.width, found.height, found.frames) == (64, 48, 1)
            difference = np.abs((await desk.pixels(content)).astype(int) - shades())
            assert difference.max() <= (24 if name in ("JPEG", "WEBP") else 0), name
        for name in ("ICO", "ICNS"):  # which hold squares
            side = 128 if name == "ICNS" else 64
            content = drawn_image(name, width=side, height=side)
            found = await desk.look(content)
            assert (await desk.pixels(content)).shape == (found.height, found.width, 3), name


async def test_the_first_frame_of_an_animation_is_seen(tmp_path: Path) -> None:
    """An image that moves is its first one."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    async with decoding(tmp_path) as desk:
        for name in ("GIF", "WEBP", "PNG", "TIFF"):
            content = saved(frames[0], name, save_all=True, append_images=frames[1:])
            red, green, blue = (await desk.pixels(content))[4, 4].astype(int)
            assert red > 240, name
            assert max(green, blue) < 16, name


async def test_a_picture_is_turned_as_the_camera_says(tmp_path: Path) -> None:
    """Each of the orientations of EXIF is undone, and known before anything is decoded."""
    upright = Image.fromarray(shades())
    held = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    async with decoding(tmp_path) as desk:
        for orientation, transposition in held.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            for name in ("PNG", "TIFF"):
                content = saved(upright.transpose(transposition), name, exif=exif)
                found = await desk.look(content)
                assert (found.width, found.height) == (64, 48), (name, orientation)
                pixels = await desk.pixels(content)
                assert np.array_equal(pixels, shades()), (name, orientation)


async def test_all_kinds_of_pixels_become_rgb(tmp_path: Path) -> None:
    """Palettes, greys, deep and transparent pixels are what one sees on white paper."""
    grey = shades()[:, :, 0]
    drawn = Image.fromarray(shades())
    clear = drawn.convert("RGBA")
    clear.putalpha(0)
    palette = drawn.quantize(16)
    deep = (grey.astype(np.uint16) * 257).astype(np.uint16)
    white = np.full_like(shades(), 255)
    async with decoding(tmp_path) as desk:
        for content, expected, tolerance in (
            (saved(Image.fromarray(grey), "PNG"), np.stack([grey] * 3, axis=2), 0),
            (saved(Image.fromarray(deep), "PNG"), np.stack([grey] * 3, axis=2), 0),
            (saved(Image.fromarray(deep), "TIFF"), np.stack([grey] * 3, axis=2), 0),
            (saved(Image.fromarray(deep.astype(np.int32)), "TIFF"), np.stack([grey] * 3, 2), 0),
            (saved(clear, "PNG"), white, 0),
            (saved(clear, "WEBP", lossless=True), white, 0),
            (saved(clear.convert("LA"), "PNG"), white, 0),
            (saved(palette, "PNG"), np.asarray(palette.convert("RGB")), 0),
            (saved(palette, "PNG", transparency=0), None, 0),
            (saved(drawn.convert("1"), "PNG"), np.asarray(drawn.convert("1").convert("RGB")), 0),
            (saved(drawn.convert("CMYK"), "TIFF"), shades(), 2),
            (saved(drawn.convert("CMYK"), "JPEG", quality=95), shades(), 24),
        ):
            seen = await desk.pixels(content)
            assert seen.dtype == np.uint8
            assert seen.shape == shades().shape
            if expected is None:
                gone = np.asarray(palette) == 0
                assert (seen[gone] == 255).all()
                expected = np.where(gone[..., None], 255, np.asarray(palette.convert("RGB")))
            assert np.abs(seen.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("filter_", list(Filter))
async def test_a_picture_is_resized_as_processors_do(tmp_path: Path, filter_: Filter) -> None:
    """Each fit gives what Pillow gives that is told so in plain words."""
    resample = Image.Resampling[filter_.name]
    side = 28
    async with decoding(tmp_path) as desk:
        for width, height in ((64, 48), (48, 64), (50, 50), (300, 7), (1, 5000)):
            drawn = Image.fromarray(shades(width, height))
            content = saved(drawn, "PNG")
            stretched = await desk.pixels(content, Sizing(Fit.STRETCH, filter_, side=side))
            assert np.array_equal(stretched, np.asarray(drawn.resize((side, side), resample)))

            grid = Sizing(Fit.GRID, filter_, step=4, min_pixels=64, max_pixels=1024)
            expected = drawn.resize(grid.size_of(width, height), resample)
            assert np.array_equal(await desk.pixels(content, grid), np.asarray(expected))

            covered = await desk.pixels(content, Sizing(Fit.COVER, filter_, side=side))
            assert covered.shape == (side, side, 3)
            if max(width, height) < 64 * min(width, height):
                assert np.array_equal(covered, covered_by_hand(drawn, side, resample))

            contained = await desk.pixels(content, Sizing(Fit.CONTAIN, filter_, side=side))
            scale = side / max(width, height)
            wide, high = (max(1, round(each * scale)) for each in (width, height))
            left, top = (side - wide) // 2, (side - high) // 2
            inner = np.asarray(drawn.resize((wide, high), resample))
            assert np.array_equal(contained[top : top + high, left : left + wide], inner)
            assert np.array_equal(contained[0, left : left + wide], inner[0])
            assert np.array_equal(contained[top : top + high, -1], inner[:, -1])


def covered_by_hand(
    drawn: Image.Image, side: int, resample: Image.Resampling
) -> np.ndarray[Any, Any]:
    """Scale the shorter side to a length, and cut the middle out, as CLIP's processor does."""
    short = min(drawn.size)
    wide, high = side * drawn.width // short, side * drawn.height // short
    left, top = (wide - side) // 2, (high - side) // 2
    scaled = drawn.resize((wide, high), resample)
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


# --- videos --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "mpeg4"),
        ("matroska", "libx264"),
        ("webm", "libvpx-vp9"),
        ("avi", "mpeg4"),
        ("flv", "flv"),
        ("mpeg", "mpeg2video"),
        ("mpeg1video", "mpeg1video"),
        ("mpegts", "mpeg2video"),
    ],
)
async def test_every_container_of_a_video_is_decoded(
    tmp_path: Path, container: str, codec: str
) -> None:
    """The frames at the wanted times are those shown then, however the file is built."""
    content = drawn_video(container, codec, frames=120, fps=10 if codec == "mpeg4" else 25)
    sampling = Sampling(GRID, fps=1, min_frames=2, max_frames=5)
    async with decoding(tmp_path) as desk:
        found = await desk.look(content)
        clip = await desk.see(content, Viewing(GRID, sampling))
    assert (found.width, found.height, found.frames) == (64, 48, 120)
    places = sampling.choose(found.frames, found.frames / found.duration_s)
    assert isinstance(clip, Clip)
    assert clip.frames.shape == (len(places), 48, 64, 3)
    seconds = found.duration_s / found.frames
    assert np.allclose(clip.times_s, [place * seconds for place in places], atol=0.02)
    expected = [20 + 200 * place // 119 for place in places]
    assert np.abs(clip.frames.mean(axis=(1, 2, 3)) - expected).max() < 6


async def test_frames_far_apart_are_found_with_any_key_frames(tmp_path: Path) -> None:
    """Whether a jump helps or not, the frames are those of the wanted times."""
    sampling = Sampling(GRID, fps=0.25, min_frames=2, max_frames=64)
    async with decoding(tmp_path) as desk:
        for container, gop in (("matroska", 10_000), ("mp4", 30), ("mpegts", 50), ("flv", 1)):
            codec = "libx264" if container != "flv" else "flv"
            content = drawn_video(container, codec, frames=500, fps=25, gop=gop)
            clip = await desk.see(content, Viewing(GRID, sampling))
            assert isinstance(clip, Clip)
            assert np.allclose(clip.times_s, [0, 4.98, 9.98, 14.98, 19.96], atol=0.05), container
            expected = [20 + 200 * time_s * 25 / 499 for time_s in clip.times_s]
            assert np.abs(clip.frames.mean(axis=(1, 2, 3)) - expected).max() < 6, container


async def test_all_frames_of_a_video_come_in_order(tmp_path: Path) -> None:
    """Where every frame is wanted, each is there once."""
    async with decoding(tmp_path) as desk:
        clip = await desk.see(drawn_video("matroska", "libx264", frames=30))
    assert isinstance(clip, Clip)
    shades_of = clip.frames.mean(axis=(1, 2, 3))
    assert len(shades_of) == 30
    assert (np.diff(shades_of) > 3).all()


async def test_a_video_that_is_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    """A file that says more than it has gives as many frames as were asked for."""
    whole = drawn_video("avi", "mpeg4", frames=100, gop=1)
    cut = whole[: len(whole) // 2]
    sampling = Sampling(GRID, fps=4, min_frames=2, max_frames=8)
    async with decoding(tmp_path) as desk:
        found = await desk.look(cut)
        assert 30 < found.frames < 70
        clip = await desk.see(cut, Viewing(GRID, sampling))
        assert isinstance(clip, Clip)
        fps = found.frames / found.duration_s
        assert len(clip.frames) == len(sampling.choose(found.frames, fps))

        # The same after somebody has counted it as whole.
        (tmp_path / "media").write_bytes(cut)
        told = type(found)(64, 48, 100, 4.0)
        kind = recognise(cut[:4096])
        path = tmp_path / "media"
        clip = await desk.pool.see(kind, path, Viewing(GRID, sampling), told)
    assert isinstance(clip, Clip)
    assert len(clip.frames) == len(clip.times_s) == len(sampling.choose(100, 25.0))
    assert np.array_equal(clip.frames[-1], clip.frames[-2])


async def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    """A container whose pictures are gone is refused in words."""
    whole = drawn_video("mp4", frames=20)
    start = whole.index(b"mdat") + 4
    (length,) = struct.unpack(">I", whole[start - 8 : start - 4])
    empty = whole[:start] + bytes(length - 8) + whole[start + length - 8 :]
    async with decoding(tmp_path) as desk:
        for content in (empty, whole[:200], drawn_video("avi", frames=20)[:3000]):
            with pytest.raises(MediaRejected):
                await desk.see(content)


async def test_a_video_is_turned_as_the_camera_says(tmp_path: Path) -> None:
    """The matrix of a track (ISO 14496-12, 8.3.2) turns what is seen, and its size."""
    whole = drawn_video("mp4", "mpeg4", pictures=[shades()] * 3, frames=3)
    place = whole.index(b"tkhd") + 4 + 40
    upright = np.abs(shades().astype(int))
    async with decoding(tmp_path) as desk:
        for turned_by, (a, b, c, d) in ((0, (1, 0, 0, 1)), (1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1))):
            one = 1 << 16
            matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
            content = whole[:place] + matrix + whole[place + 36 :]
            found = await desk.look(content)
            clip = await desk.see(content)
            expected = np.rot90(upright, k=-turned_by)  # clockwise
            assert isinstance(clip, Clip)
            assert (found.height, found.width) == expected.shape[:2]
            assert clip.frames.shape[1:] == expected.shape
            assert np.abs(clip.frames[0].astype(int) - expected).mean() < 8, turned_by


async def test_a_title_in_another_encoding_is_no_damage(tmp_path: Path) -> None:
    """Words beside the pictures may be written in any way."""
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as file:
        file.metadata["title"] = "TITLE"
        stream = file.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(shades(), format="rgb24")))
        file.mux(stream.encode(None))
    content = out.getvalue()
    assert b"TITLE" in content
    async with decoding(tmp_path) as desk:
        clip = await desk.see(content.replace(b"TITLE", b"\xb1\xea\xcc\xe2\xff"))
    assert isinstance(clip, Clip)
    assert clip.frames.shape == (1, 48, 64, 3)


async def test_a_video_is_held_to_its_limits(tmp_path: Path) -> None:
    """Seconds, frames and pixels beyond the limits are refused before anything is decoded."""
    content = drawn_video(frames=50)
    for settings, words in (
        ({"max_video_s": 1.5}, "lasts 2 s"),
        ({"max_video_frames": 49}, "frames"),
        ({"max_image_pixels": 64 * 48 - 1}, "64 x 48 pixels"),
    ):
        async with decoding(tmp_path, **settings) as desk:
            with pytest.raises(MediaRejected, match=words):
                await desk.look(content)


async def test_a_video_opens_nothing_else(tmp_path: Path) -> None:
    """Playlists and files that name others are not videos here."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    async with decoding(tmp_path) as desk:
        for content in (
            f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n".encode(),
            f"ffconcat version 1.0\nfile {secret}\n".encode(),
            b"RIFF\x00\x00\x00\x00AVI " + f"#EXTM3U\nfile://{secret}\n".encode(),
        ):
            with pytest.raises(MediaRejected):
                await desk.look(content)


async def test_damaged_files_give_a_picture_or_a_refusal(tmp_path: Path) -> None:
    """Whatever bytes of a file are changed, it is seen as promised, or refused."""
    chance = random.Random(7)
    whole = [drawn_image(name, width=64, height=64) for name in ("JPEG", "PNG", "WEBP", "TIFF")]
    whole += [drawn_video(name, "mpeg4", frames=20) for name in ("mp4", "matroska", "avi")]
    sampling = Sampling(GRID, fps=5, min_frames=2, max_frames=8, multiple=2)
    seen: Counter[bool] = Counter()
    async with decoding(tmp_path, max_image_pixels=10**6, decode_timeout_s=5) as desk:
        for _ in range(250):
            content = bytearray(chance.choice(whole))
            for _ in range(chance.choice((1, 4, 20))):
                content[chance.randrange(len(content))] = chance.randrange(256)
            content = content[: chance.choice((len(content), len(content) // 2))]
            try:
                found = await desk.look(bytes(content))
                picture = await desk.see(bytes(content), Viewing(GRID, sampling))
            except MediaRejected:
                seen[False] += 1
                continue
            seen[True] += 1
            if isinstance(picture, Clip):
                fps = found.frames / found.duration_s if found.duration_s else 0
                assert len(picture.frames) == len(sampling.choose(found.frames, fps))
            else:
                assert picture.pixels.shape == (found.height, found.width, 3)
    assert min(seen[True], seen[False]) > 20


# --- processes -----------------------------------------------------------------------------------


async def test_memory_is_bounded_in_the_process_that_decodes(tmp_path: Path) -> None:
    """A picture that takes more memory than allowed is refused, and nobody's memory grows."""
    allowed = 128 * 1024**2
    async with decoding(
        tmp_path, max_image_pixels=10**9, decoder_bytes=allowed, decode_timeout_s=20
    ) as desk:
        await desk.look(drawn_image())
        (process_id,) = desk.pool.process_ids
        decoder = psutil.Process(process_id)
        bound = decoder.rlimit(psutil.RLIMIT_AS)[0]
        assert bound - decoder.memory_info().vms <= allowed + 16 * 1024**2
        before = psutil.Process().memory_info().rss
        with pytest.raises(MediaRejected, match="more memory"):
            await desk.see(huge_png())
        assert psutil.Process().memory_info().rss - before < 32 * 1024**2
        assert (await desk.pixels(drawn_image())).shape == (48, 64, 3)


async def test_time_is_bounded_by_ending_the_process(tmp_path: Path) -> None:
    """Decoding that takes too long ends with its process, and the next picture gets another one."""
    async with decoding(tmp_path, max_image_pixels=10**9, decoder_bytes=8 * 1024**3) as desk:
        await desk.look(drawn_image())
        (first,) = desk.pool.process_ids
        with pytest.raises(MediaRejected, match="takes longer than 0"):
            await desk.see(huge_png(), time_left_s=0.2)
        assert not psutil.pid_exists(first)
        assert (await desk.pixels(drawn_image())).shape == (48, 64, 3)


async def test_a_process_that_dies_takes_only_its_own_picture(tmp_path: Path) -> None:
    """Of several pictures that are decoded at once, the one in the killed process is refused."""
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    slow.write_bytes(huge_png(20_000, 20_000))
    quick.write_bytes(drawn_image())
    settings = MediaReaderSettings(decoders=2, max_image_pixels=10**9, decoder_bytes=8 * 1024**3)
    viewing = Viewing(Sizing(Fit.STRETCH, side=8))
    async with DecoderPool(settings) as pool:
        png = recognise(drawn_image())
        found = await pool.look(png, slow)
        (first,) = pool.process_ids
        doomed = asyncio.create_task(pool.see(png, slow, viewing, found))
        while pool.busy_process_ids != [first]:  # noqa: ASYNC110 - a pool has no event for a test
            await asyncio.sleep(0)  # until it has begun
        small = await pool.look(png, quick)  # in the other process, which begins now
        seen = asyncio.gather(*(pool.see(png, quick, viewing, small) for _ in range(4)))
        os.kill(first, signal.SIGKILL)
        with pytest.raises(MediaRejected, match="failed"):
            await doomed
        assert len(await seen) == 4
        assert isinstance(await pool.see(png, quick, viewing, small), Picture)


async def test_a_process_has_no_secrets_and_few_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's secrets do not reach it; it may write no file."""
    monkeypatch.setenv("MILVANE_SECRET", "s3cret")
    async with decoding(tmp_path) as desk:
        await desk.look(drawn_image())
        (process_id,) = desk.pool.process_ids
        process = psutil.Process(process_id)
        assert "s3cret" not in "".join(process.environ().values())
        assert process.rlimit(psutil.RLIMIT_FSIZE)[0] == 0
        assert process.rlimit(psutil.RLIMIT_CORE)[0] == 0
    assert not psutil.pid_exists(process_id)


@pytest.mark.parametrize(
    ("answer", "pixels"),
    [
        ({"shape": [2, 2, 3], "times_s": []}, 11),
        ({"shape": [100_000, 100_000, 3], "times_s": []}, 0),
        ({"shape": [-2, -2, 3], "times_s": []}, 12),
        ({"shape": [2, 2, 4], "times_s": []}, 16),
        ({"shape": [1, 2, 2, 3], "times_s": [0.0]}, 12),
        ({"shape": [2, 2, 3], "times_s": [0.0]}, 12),
        ({"shape": "x"}, 0),
        ({}, 0),
        ([], 0),
        ("x" * 2_000_000, 0),
    ],
    ids=str,
)
async def test_an_answer_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, pixels: int
) -> None:
    """A process that was taken over can refuse its picture, and do nothing else."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    told = json.dumps(answer).encode()
    path = tmp_path / "answer"
    path.write_bytes(struct.pack("<I", len(told)) + told + bytes(pixels))
    png = recognise(drawn_image())
    settings = MediaReaderSettings(decoders=1, decode_timeout_s=1)
    async with DecoderPool(settings, program="hostile_decoder") as pool:
        with pytest.raises(MediaRejected):
            await pool.see(png, path, Viewing(GRID), Found(2, 2, 1, 0.0), time_left_s=1)
        with pytest.raises(MediaRejected):
            await pool.look(png, path)


async def test_a_process_that_cannot_begin_is_the_services_fault(tmp_path: Path) -> None:
    """Where no process can be started, that is said, and the picture is not blamed."""
    path = tmp_path / "picture"
    path.write_bytes(drawn_image())
    settings = MediaReaderSettings(decoders=1)
    async with DecoderPool(settings, program="milvane.no_such_program") as pool:
        with pytest.raises(UpstreamUnavailable, match="cannot be started"):
            await pool.look(recognise(drawn_image()), path)


async def test_a_stopped_pool_leaves_no_process(tmp_path: Path) -> None:
    """Work under way ends when the pool does."""
    async with decoding(tmp_path, max_image_pixels=10**9, decoder_bytes=8 * 1024**3) as desk:
        await desk.look(drawn_image())
        process_ids = desk.pool.process_ids
        work = asyncio.create_task(desk.see(huge_png(20_000, 20_000)))
        while not desk.pool.busy_process_ids:  # noqa: ASYNC110 - a pool has no event for a test
            await asyncio.sleep(0)
    with pytest.raises(Exception, match=r"failed|stopping"):
        await work
    assert not any(map(psutil.pid_exists, process_ids))
