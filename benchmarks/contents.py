"""
Weights that take images: how much of what a network reaches alone the engine does.

Needs PyTorch: `.venv-torch/bin/python -m benchmarks contents`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from benchmarks.report import Section
from milvane.domain.contents import MediaFacts, Wishes
from milvane.domain.models import Lane, Modality
from milvane.domain.pictures import Picture
from milvane.inference.contents.engine import ContentsEngine, open_content_engine
from milvane.inference.installed import find_set
from milvane.inference.settings import InferenceSettings

CONTROLS = (
    "<|endoftext|>", "<|startoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
CALLERS = 24


@dataclass(frozen=True, slots=True)
class Shape:
    """A network, and what is asked of it."""

    title: str
    write: Callable[[Path], None]
    image: tuple[int, int]
    batch: int
    """Images of a pass."""


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Write a tokenizer of bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({each: place for place, each in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in CONTROLS])
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": CONTROLS[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return {name: tokenizer.token_to_id(name) for name in CONTROLS}


def write_clip(folder: Path) -> None:
    """Write CLIP ViT-B/32's tower for images, and a small one for texts."""
    import transformers

    ids = write_tokenizer(folder)
    words = {"vocab_size": 300, "hidden_size": 128, "intermediate_size": 256, "projection_dim": 512,
             "num_hidden_layers": 2, "num_attention_heads": 2, "eos_token_id": ids[CONTROLS[0]],
             "bos_token_id": ids[CONTROLS[1]], "pad_token_id": ids[CONTROLS[0]]}  # fmt: skip
    config = transformers.CLIPConfig(text_config=words, projection_dim=512)
    transformers.CLIPModel(config).save_pretrained(folder)
    _write_processor(folder, {"crop_size": 224, "size": 224, "do_center_crop": True})


def write_qwen3_vl(folder: Path) -> None:
    """Write a Qwen3-VL of a tenth of the 2B's layers and half of its width."""
    import transformers

    ids = write_tokenizer(folder)
    words = {
        "vocab_size": 300,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [12, 10, 10],
            "mrope_interleaved": True,
        },
    }
    sight = {"depth": 6, "hidden_size": 512, "intermediate_size": 1024, "num_heads": 8,
             "out_hidden_size": 768, "num_position_embeddings": 2304, "patch_size": 16,
             "deepstack_visual_indexes": [1, 3]}  # fmt: skip
    config = transformers.Qwen3VLConfig(
        text_config=words, vision_config=sight, tie_word_embeddings=True,
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    transformers.Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    _write_processor(folder, {"size": {}, "patch_size": 16, "merge_size": 2})


def _write_processor(folder: Path, settings: dict[str, Any]) -> None:
    scales = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, **scales}))


SHAPES = (
    Shape("CLIP ViT-B/32, 224 x 224", write_clip, (224, 224), 16),
    Shape("Qwen3-VL, 6 + 6 layers, 448 x 320", write_qwen3_vl, (448, 320), 4),
)


def drawn(shape: Shape, seed: int) -> tuple[MediaFacts, Picture]:
    """Draw an image in the size that the network takes."""
    wide, high = shape.image
    pixels = np.random.default_rng(seed).integers(0, 256, (high, wide, 3), np.uint8)
    facts = MediaFacts(seed.to_bytes(32, "little"), Modality.IMAGE, "png", 1, wide, high)
    return facts, Picture(pixels)


async def through_engine(engine: ContentsEngine, shape: Shape, images: int) -> float:
    """Embed images of many callers; says how many per second."""
    waiting = [drawn(shape, seed) for seed in range(images)]

    async def caller() -> None:
        while waiting:
            facts, picture = waiting.pop()
            [content] = await engine.tokenize([[facts]], Wishes())
            await engine.embed(content, [picture], dimension=engine.width, lane=Lane.BULK)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return images / (time.perf_counter() - begun)


def directly(engine: ContentsEngine, shape: Shape, images: int) -> float:
    """Run the network over full passes that were prepared beforehand; images per second."""
    encoder, network = engine._encoder, engine._queue._forward  # noqa: SLF001 - what is compared
    loads = []
    for seed in range(images):
        facts, picture = drawn(shape, seed)
        [content] = encoder.tokenize([[facts]], Wishes())
        loads += [work.load for work in encoder.pack(content, [picture])]
    begun = time.perf_counter()
    for start in range(0, images, shape.batch):
        network(loads[start : start + shape.batch])
    return images / (time.perf_counter() - begun)


@dataclass(frozen=True, slots=True)
class Compared:
    """What came out for one network."""

    alone: float
    """Images per second of the network alone."""
    served: float
    work: float
    """Processor seconds of the network alone for one of the engine's."""
    runs: str


async def compare(shape: Shape, images: int, rounds: int) -> Compared:
    """Measure both by turns, and take the medians."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        shape.write(folder)
        weights = find_set(str(folder), folder)
        probe = InferenceSettings()
        async with open_content_engine(weights, folder, probe) as engine:
            facts, picture = drawn(shape, 0)
            [content] = await engine.tokenize([[facts]], Wishes())
            cost = engine._encoder.pack(content, [picture])[0].tokens  # noqa: SLF001
        # Passes of the engine as large as those of the loop.
        settings = InferenceSettings(max_content_pass_tokens=shape.batch * (-(-cost // 16) * 16))
        async with open_content_engine(weights, folder, settings) as engine:
            rates: list[tuple[float, float, float]] = []
            for number in range(rounds + 1):
                begun_s = time.process_time()
                alone = directly(engine, shape, images)
                half_s = time.process_time()
                served = await through_engine(engine, shape, images)
                work = (half_s - begun_s) / (time.process_time() - half_s)
                if number:  # the first round warms up
                    rates.append((alone, served, work))
            alone, served, work = np.median(np.array(rates), axis=0).tolist()
            runs = f"{engine.facts.runtime}, {engine.facts.precision}"
            return Compared(alone, served, work, runs)


def measure(*, quick: bool) -> Section:
    """Measure every shape."""
    if importlib.util.find_spec("torch") is None:
        raise SystemExit("PyTorch is not here: run .venv-torch/bin/python -m benchmarks contents")
    rows = []
    for shape in SHAPES:
        images, rounds = (2 * CALLERS, 1) if quick else (4 * CALLERS, 3)
        found = asyncio.run(compare(shape, images, rounds))
        rows.append(
            [
                shape.title,
                f"{found.served:,.1f} images/s",
                f"{found.alone:,.1f}",
                f"{found.served / found.alone:.2f}",
                f"{found.work:.2f}",
                found.runs,
            ]
        )
    return Section(
        title="Weights that take images",
        question="How much of what a network reaches alone does its engine? Random weights of real "
        f"shapes; one image per call, {CALLERS} callers. The network alone runs full passes that "
        "were prepared beforehand; the engine tokenizes, cuts patches, queues and batches as well.",
        columns=["network", "engine", "network alone", "ratio", "of processor time", "runs on"],
        rows=rows,
        notes=[
            "Images are decoded already on both sides. The ratio of processor time is that of the "
            "network alone to the engine: on a machine that has other work it moves less."
        ],
    )
