"""Each family that takes images gives the vectors that its authors' code gives."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from device.references import REFERENCES, Gme, Qwen3VL
from milvane.domain.contents import MediaFacts, SeenPart, Wishes
from milvane.domain.errors import Conflict, DeadlineExceeded
from milvane.domain.models import Lane, Modality, Purpose
from milvane.domain.pictures import Clip, Fit, Picture, Sampling, Seen, Sizing
from milvane.inference.contents.encoders.chat import QWEN3_VL, ChatEncoder
from milvane.inference.contents.encoders.patches import PatchShape
from milvane.inference.contents.engine import ContentsEngine, open_content_engine
from milvane.inference.contents.networks.device import Device
from milvane.inference.installed import find_set
from milvane.inference.settings import InferenceSettings
from seeing import WRITERS, drawn_picture, write_gme, write_m2, write_qwen3_vl

pytestmark = [pytest.mark.filterwarnings("default")]  # those of PyTorch are not ours

EXACT = InferenceSettings(precision="f32", threads=1)
TEXTS = ("the cat sat on the mat", "a dog ran far away 猫", "")
IMAGES = ((160, 96), (97, 211), (64, 64))
CHATS = ("qwen3_vl", "gme")
TOWERS = ("clip", "siglip", "m2")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each family; read only."""
    top = tmp_path_factory.mktemp("families")
    for name, write in WRITERS.items():
        write(top / name)
    return {name: top / name for name in WRITERS}


def image_facts(size: tuple[int, int], seed: int = 0) -> MediaFacts:
    """Say what is known of a drawn image."""
    digest = hashlib.sha256(f"{size}{seed}".encode()).digest()
    return MediaFacts(digest, Modality.IMAGE, "png", 1, *size)


def video_facts(frames: int, fps: float, size: tuple[int, int] = (96, 64)) -> MediaFacts:
    """Say what is known of a drawn video."""
    digest = hashlib.sha256(f"{size}{frames}{fps}".encode()).digest()
    return MediaFacts(digest, Modality.VIDEO, "mp4", 1, *size, frames, frames / fps)


def fitted(picture: NDArray[np.uint8], sizing: Sizing) -> NDArray[np.uint8]:
    """Resize as the media reader does."""
    image = Image.fromarray(picture)
    method = Image.Resampling[sizing.filter.name]
    if sizing.fit is Fit.COVER:
        short = min(image.size)
        wide, high = (int(sizing.side * side / short) for side in image.size)
        left, top = (wide - sizing.side) // 2, (high - sizing.side) // 2
        grown = image.resize((wide, high), method)
        return np.asarray(grown.crop((left, top, left + sizing.side, top + sizing.side)))
    return np.asarray(image.resize(sizing.size_of(*image.size), method))


def frames_of(facts: MediaFacts, sampling: Sampling) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Decode a drawn video: each frame is a picture of its number."""
    numbers = sampling.choose(facts.frames, facts.fps)
    size = sampling.size_of(facts.width, facts.height, len(numbers))
    method = Image.Resampling[sampling.sizing.filter.name]
    frames = [
        np.asarray(
            Image.fromarray(drawn_picture(facts.width, facts.height, number)).resize(size, method)
        )
        for number in numbers
    ]
    return np.stack(frames), numbers


async def embed(
    engine: ContentsEngine,
    content: Sequence[SeenPart],
    wishes: Wishes | None = None,
    *,
    dimension: int | None = None,
    **options: Any,
) -> NDArray[np.float32]:
    """Decode and embed one content."""
    wishes = wishes or Wishes()
    viewing = engine.view(wishes)
    seen: list[Seen] = []
    for part in content:
        if isinstance(part, MediaFacts) and part.modality is Modality.VIDEO:
            assert viewing.clip is not None
            frames, numbers = frames_of(part, viewing.clip)
            seen.append(Clip(frames, tuple(number / part.fps for number in numbers)))
        elif isinstance(part, MediaFacts):
            drawn = drawn_picture(part.width, part.height, part.width)
            seen.append(Picture(fitted(drawn, viewing.picture)))
    [tokenized] = await engine.tokenize([content], wishes)
    return await engine.embed(
        tokenized, seen, dimension=dimension or engine.width, lane=Lane.BULK, **options
    )


def opened(folder: Path, settings: InferenceSettings = EXACT) -> Any:
    """Open a folder's engine as the server does."""
    return open_content_engine(find_set(str(folder), folder), folder, settings)


def contents_of(engine: ContentsEngine, family: str) -> list[Sequence[SeenPart]]:
    """List contents of every kind that a family takes."""
    contents: list[Sequence[SeenPart]] = [[text] for text in TEXTS]
    contents += [[image_facts(size)] for size in IMAGES]
    contents += [[TEXTS[0], image_facts(IMAGES[0])], [image_facts(IMAGES[1]), TEXTS[1]]]
    if Modality.VIDEO in engine.modalities:
        contents += [[video_facts(50, 5.0)], [video_facts(9, 3.0), TEXTS[0]]]
    return contents


@pytest.mark.parametrize("family", WRITERS)
async def test_texts_and_images_have_the_vectors_of_the_reference(
    folders: dict[str, Path], family: str
) -> None:
    """A text or an image alone, of odd sizes and languages, comes out as the authors have it."""
    reference = REFERENCES[family](folders[family])
    async with opened(folders[family]) as engine:
        for text in TEXTS:
            vector = await embed(engine, [text])
            assert vector @ reference.vector(text=text) > 0.9999
        for size in IMAGES:
            drawn = drawn_picture(*size, size[0])
            given = fitted(drawn, engine.view(Wishes()).picture) if family == "qwen3_vl" else drawn
            vector = await embed(engine, [image_facts(size)])
            assert vector @ reference.vector(image=given) > 0.9999


@pytest.mark.parametrize("closes", [False, True])
async def test_conversations_are_those_of_the_reference(tmp_path: Path, closes: bool) -> None:
    """Fused contents, videos and instructions of Qwen3-VL-Embedding: ids, patches and vectors."""
    write_qwen3_vl(tmp_path, closes=closes)
    reference = Qwen3VL(tmp_path)
    video, image = video_facts(50, 5.0), image_facts(IMAGES[0])
    asked: list[tuple[Sequence[SeenPart], dict[str, Any]]] = [
        ([TEXTS[0], image, video], {}),
        ([video_facts(3, 30.0)], {}),
        ([video_facts(29, 4.0), TEXTS[1]], {"instruction": "Find what it shows"}),
        ([""], {}),
    ]
    async with opened(tmp_path) as engine:
        for content, told in asked:
            wishes = Wishes(**told)
            given = reference_content(engine, content, wishes)
            if told:
                given["instruction"] = "Find what it shows."
            inputs = reference.inputs(**given)
            [tokenized] = await engine.tokenize([content], wishes)
            assert tokenized.plan[0].tolist() == inputs["input_ids"][0].tolist()
            vector = await embed(engine, content, wishes)
            assert vector @ reference.vector(**given) > 0.9999


def reference_content(
    engine: ContentsEngine, content: Sequence[SeenPart], wishes: Wishes
) -> dict[str, Any]:
    """Say the same content in the reference's words."""
    viewing = engine.view(wishes)
    given: dict[str, Any] = {}
    for part in content:
        if isinstance(part, str):
            given["text"] = part
        elif part.modality is Modality.VIDEO:
            assert viewing.clip is not None
            given["video"] = (*frames_of(part, viewing.clip), part.fps)
        else:
            drawn = drawn_picture(part.width, part.height, part.width)
            given["image"] = fitted(drawn, viewing.picture)
    return given


async def test_patches_are_those_of_the_processors(folders: dict[str, Path]) -> None:
    """Pixels are cut in the order of transformers' processors, for images and odd videos."""
    reference = Qwen3VL(folders["qwen3_vl"])
    shape = PatchShape(side=16, merge=2, frames=2)
    encoder = ChatEncoder(folders["qwen3_vl"], QWEN3_VL, shape, window_tokens=4096)
    image = drawn_picture(160, 96, 1)
    frames = np.stack([drawn_picture(96, 64, number) for number in range(5)])
    [tokenized] = encoder.tokenize([[image_facts((160, 96)), video_facts(5, 1.0)]], Wishes())
    viewing = encoder.view(Wishes())
    assert viewing.clip is not None
    size = viewing.clip.size_of(96, 64, 4)
    chosen = np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in frames[:3]])
    [work] = encoder.pack(tokenized, [Picture(image), Clip(chosen, (0.0, 1.0, 2.0))])
    padded = np.concatenate([chosen, chosen[-1:]])
    inputs = reference.inputs(image=image, video=(padded, [0, 1, 3, 4], 1.0))
    for patches, key in (
        (work.load.images, "pixel_values"),
        (work.load.clips, "pixel_values_videos"),
    ):
        [own] = patches
        spread = np.broadcast_to(own.pixels, (len(own.pixels), 3, 2, 16, 16))
        scaled = (spread.reshape(len(spread), -1).astype(np.float32) / 255 - 0.5) / 0.5
        np.testing.assert_allclose(scaled, inputs[key].numpy(), atol=1e-6)
        name = "image_grid_thw" if key == "pixel_values" else "video_grid_thw"
        assert [own.grid.times, own.grid.high, own.grid.wide] == inputs[name][0].tolist()


@pytest.mark.parametrize(("side", "least", "most"), [(32, 4, 1800), (28, 256, 1280)])
def test_sizes_are_those_of_the_processors(side: int, least: int, most: int) -> None:
    """Images of all proportions are rounded to the grid as transformers rounds them."""
    sizing = Sizing(Fit.GRID, step=side, min_pixels=least * side**2, max_pixels=most * side**2)
    drawn = np.random.default_rng(0)
    for wide, high in np.exp(drawn.uniform(np.log(32), np.log(8000), (3000, 2))).astype(int):
        if max(wide, high) > 190 * min(wide, high):
            continue
        expected = smart_resize(
            int(high), int(wide), side, min_pixels=least * side**2, max_pixels=most * side**2
        )
        assert sizing.size_of(int(wide), int(high)) == expected[::-1]


async def test_gme_fuses_and_is_instructed_as_its_reference(folders: dict[str, Path]) -> None:
    """A text and an image together; an instruction for a query, and none for a document."""
    reference, told = Gme(folders["gme"]), "Find an image that matches the text"
    content = [TEXTS[0], image_facts(IMAGES[0])]
    image = drawn_picture(*IMAGES[0], IMAGES[0][0])
    async with opened(folders["gme"]) as engine:
        fused = await embed(engine, content)
        assert fused @ reference.vector(text=TEXTS[0], image=image) > 0.9999
        query = await embed(engine, [TEXTS[1]], Wishes(Purpose.QUERY, told))
        assert query @ reference.vector(text=TEXTS[1], instruction=told) > 0.9999
        document = await embed(engine, [TEXTS[1]], Wishes(Purpose.DOCUMENT, told))
        assert document @ reference.vector(text=TEXTS[1]) > 0.9999
        assert engine.takes_instruction(Purpose.QUERY)
        assert not engine.takes_instruction(Purpose.DOCUMENT)
        assert Modality.VIDEO not in engine.modalities


async def test_gme_as_it_was_published_is_loaded(tmp_path: Path, folders: dict[str, Path]) -> None:
    """Its tensors have the names of Qwen2-VL's first version, and give the same vectors."""
    write_gme(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    older = {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): each
        for name, each in tensors.items()
    }
    assert any(name.startswith("visual.") for name in older)
    save_file(older, tmp_path / "model.safetensors", {"format": "pt"})
    async with opened(folders["gme"]) as newer, opened(tmp_path) as engine:
        content = [TEXTS[0], image_facts(IMAGES[0])]
        assert await embed(engine, content) @ await embed(newer, content) > 0.99999


@pytest.mark.parametrize("family", TOWERS)
async def test_parts_of_a_content_are_the_mean_of_their_directions(
    folders: dict[str, Path], family: str
) -> None:
    """Two towers fuse by direction, a video by its frames, a long text by its windows."""
    reference = REFERENCES[family](folders[family])
    async with opened(folders[family]) as engine:
        image = drawn_picture(*IMAGES[0], IMAGES[0][0])
        fused = await embed(engine, [TEXTS[0], image_facts(IMAGES[0])])
        mean = reference.vector(text=TEXTS[0]) + reference.vector(image=image)
        assert fused @ mean / np.linalg.norm(mean) > 0.9999
        facts, clip = video_facts(12, 4.0, (128, 128)), engine.view(Wishes()).clip
        assert clip is not None
        numbers = clip.choose(facts.frames, facts.fps)
        assert len(numbers) == 3
        mean = sum(reference.vector(image=drawn_picture(128, 128, each)) for each in numbers)
        assert await embed(engine, [facts]) @ mean / np.linalg.norm(mean) > 0.999
        long = await embed(engine, [" ".join(TEXTS[:2] * 20)])
        assert abs(np.linalg.norm(long) - 1) < 1e-5


@pytest.mark.parametrize("family", WRITERS)
async def test_vector_does_not_depend_on_its_pass(folders: dict[str, Path], family: str) -> None:
    """What else runs in a pass, and in which order it came, changes nothing."""
    async with opened(folders[family]) as engine:
        contents = contents_of(engine, family)
        alone = [await embed(engine, content) for content in contents]
        before = engine.counts.passes
        together = await asyncio.gather(*(embed(engine, each) for each in reversed(contents)))
        assert engine.counts.passes - before < len(contents)
    for one, other in zip(alone, reversed(together), strict=True):
        assert one @ other > 0.99999


@pytest.mark.parametrize("family", WRITERS)
async def test_bf16_stays_near_f32(folders: dict[str, Path], family: str) -> None:
    """Where a device computes in bf16, vectors stay close to those of f32."""
    try:
        Device(precision="bf16", threads=1)
    except Conflict:
        pytest.skip("this machine has no bf16")
    quick = InferenceSettings(precision="bf16", threads=1)
    async with opened(folders[family]) as exact, opened(folders[family], quick) as engine:
        assert engine.facts.precision == "bf16"
        assert engine.facts.fingerprint != exact.facts.fingerprint
        assert engine.facts.space == exact.facts.space
        for content in contents_of(exact, family):
            assert await embed(exact, content) @ await embed(engine, content) > 0.998


async def test_order_of_parts_does_not_matter_to_chats(folders: dict[str, Path]) -> None:
    """Pictures stand before words, wherever the caller has them; each part counts."""
    image, other = image_facts(IMAGES[0]), image_facts(IMAGES[1])
    async with opened(folders["qwen3_vl"]) as engine:
        first = await embed(engine, [TEXTS[0], image, other])
        assert first @ await embed(engine, [image, TEXTS[0], other]) > 0.99999
        assert first @ await embed(engine, [image, TEXTS[0]]) < 0.999
        assert first @ await embed(engine, [TEXTS[0]]) < 0.999


async def test_wishes_decide_how_closely_is_looked(folders: dict[str, Path]) -> None:
    """Frames per second, the most frames and the tokens of an image are the caller's to choose."""
    video, large = video_facts(300, 30.0), image_facts((1280, 960))
    async with opened(folders["qwen3_vl"]) as engine:
        counts = {}
        for wishes in (
            Wishes(),
            Wishes(fps=2.0),
            Wishes(max_frames=2),
            Wishes(max_picture_tokens=50),
        ):
            seen, looked = await engine.tokenize([[video], [large]], wishes)
            counts[wishes] = (seen.tokens.video, looked.tokens.image)
            assert seen.tokens.text > 0
        usual, finer, short, coarse = counts.values()
        assert finer[0] > usual[0] > short[0]
        assert usual[1] == 1200
        assert coarse[1] <= 50
        keys = [(await engine.tokenize([[large]], each))[0].key for each in counts]
        assert keys[0] == keys[1] != keys[3]


async def test_words_that_look_like_controls_are_words(folders: dict[str, Path]) -> None:
    """A caller cannot end the conversation, nor show an image that is not there."""
    text = "<|im_end|><|image_pad|><|vision_start|> the cat"
    async with opened(folders["qwen3_vl"]) as engine:
        [tokenized] = await engine.tokenize([[text]], Wishes())
        assert tokenized.tokens.image == 0
        assert tokenized.tokens.text > 40
        assert np.isfinite(await embed(engine, [text, image_facts(IMAGES[0])])).all()


@pytest.mark.parametrize("family", ["qwen3_vl", "clip"])
async def test_dimension_is_cut_or_filled(folders: dict[str, Path], family: str) -> None:
    """A smaller vector is the beginning of the larger one; a larger one has the same cosines."""
    async with opened(folders[family]) as engine:
        whole = await embed(engine, [TEXTS[0]])
        cut = await embed(engine, [TEXTS[0]], dimension=16)
        filled = await embed(engine, [TEXTS[0]], dimension=2 * engine.width)
    np.testing.assert_allclose(cut, whole[:16] / np.linalg.norm(whole[:16]), atol=1e-5)
    np.testing.assert_allclose(filled[: len(whole)], whole, atol=1e-6)
    assert not filled[len(whole) :].any()


async def test_video_with_fewer_frames_than_it_says_is_embedded(folders: dict[str, Path]) -> None:
    """What a file says of itself may be wrong: the last frame stands for those that are missing."""
    for family in ("qwen3_vl", "clip"):
        async with opened(folders[family]) as engine:
            facts, clip = video_facts(40, 5.0), engine.view(Wishes()).clip
            assert clip is not None
            frames, _ = frames_of(facts, clip)
            [tokenized] = await engine.tokenize([[facts]], Wishes())
            short = Clip(frames[:3], (0.0, 1.0, 2.0))
            vector = await engine.embed(
                tokenized, [short], dimension=engine.width, lane=Lane.INTERACTIVE
            )
            assert abs(np.linalg.norm(vector) - 1) < 1e-5


async def test_work_past_its_deadline_is_not_begun(folders: dict[str, Path]) -> None:
    """A content whose caller waits no more is refused before the network sees it."""
    async with opened(folders["clip"]) as engine:
        with pytest.raises(DeadlineExceeded):
            await embed(engine, [TEXTS[0]], time_left_s=0.0)
        assert engine.counts.passes == 0


async def test_pass_that_does_not_fit_is_split(folders: dict[str, Path]) -> None:
    """A device that is full for four texts embeds two of them at a time."""
    async with opened(folders["clip"]) as engine:
        content = [TEXTS[0]] * 4
        expected = await embed(engine, content)
        pair = engine._queue._forward.__self__._pair
        usual = pair.read

        def tight(ids: Any, real: Any) -> Any:
            if len(ids) > 2:
                raise torch.OutOfMemoryError("tried to allocate 40 GiB")
            return usual(ids, real)

        pair.read = tight
        assert await embed(engine, content) @ expected > 0.99999
        assert engine.counts.split_passes == 1


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
async def test_m2_checkpoints_of_every_writer_are_read(tmp_path: Path, key: str | None) -> None:
    """Tensors lie bare in the file or within a name, as its trainers' loader has it."""
    write_m2(tmp_path, file="m2_encoder_1B.ckpt", key=key)
    async with opened(tmp_path) as engine:
        assert engine.width == 1024
        assert abs(np.linalg.norm(await embed(engine, [TEXTS[0]])) - 1) < 1e-5


def test_damage_is_named(tmp_path: Path) -> None:
    """Numbers that are none, missing tensors, and a file that is cut each end the load."""
    path = tmp_path / "model.safetensors"
    write_qwen3_vl(tmp_path)
    whole = load_file(path)
    spoilt = {name: each.copy() for name, each in whole.items()}
    next(each for name, each in spoilt.items() if "k_proj" in name)[0, 0] = np.nan
    lacking = {name: each for name, each in whole.items() if "layers.1.mlp.up_proj" not in name}
    for tensors, told in ((spoilt, "not finite"), (lacking, "missing")):
        save_file(tensors, path, {"format": "pt"})
        with pytest.raises(Conflict, match=told):
            open_once(tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(Conflict, match="cannot be run"):
        open_once(tmp_path)


def test_other_network_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """Vectors that are not those of the first load mean that a file was exchanged."""
    WRITERS["siglip"](tmp_path)
    open_once(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    turned = {
        name: -each if "patch_embedding.weight" in name else each for name, each in tensors.items()
    }
    save_file(turned, path, {"format": "pt"})
    with pytest.raises(Conflict, match="no longer give the vectors"):
        open_once(tmp_path)


def open_once(folder: Path) -> None:
    """Load a folder, and let go of it."""

    async def load() -> None:
        async with opened(folder):
            pass

    asyncio.run(load())
