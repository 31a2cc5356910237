"""What a folder of weights for images is, by its settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from milvane.domain.errors import Conflict
from milvane.domain.pictures import Filter
from milvane.inference.contents.describing import (
    family_of,
    find_pieces,
    image_side_of,
    patch_side_of,
    positions_of,
    read_processor,
    width_of,
)

SETTINGS: dict[str, dict[str, Any]] = {
    "qwen3_vl": {"text_config": {"hidden_size": 2048, "max_position_embeddings": 262144}},
    "qwen2_vl": {"hidden_size": 1536, "max_position_embeddings": 32768},
    "clip": {"projection_dim": 512, "text_config": {"max_position_embeddings": 77}},
    "siglip": {
        "vision_config": {"hidden_size": 768},
        "text_config": {"hidden_size": 768, "max_position_embeddings": 64},
    },
}


@pytest.mark.parametrize(
    ("family", "width", "positions"),
    [
        ("qwen3_vl", 2048, 262144),
        ("qwen2_vl", 1536, 32768),
        ("clip", 512, 77),
        ("siglip", 768, 64),
    ],
)
def test_family_and_sizes_are_read(tmp_path: Path, family: str, width: int, positions: int) -> None:
    """Each family says them in a place of its own."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, **SETTINGS[family]}))
    assert family_of(tmp_path) == family
    assert width_of(tmp_path, family) == width
    assert positions_of(tmp_path, family) == positions


def test_newer_files_have_the_words_below(tmp_path: Path) -> None:
    """Qwen2-VL's settings of the words stand at the top in older files, and below in newer ones."""
    config = {"model_type": "qwen2_vl", "text_config": SETTINGS["qwen2_vl"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert width_of(tmp_path, "qwen2_vl") == 1536
    assert positions_of(tmp_path, "qwen2_vl") == 32768


def test_m2_encoder_is_known_by_its_file(tmp_path: Path) -> None:
    """It has no settings; its tokenizer may lie deeper."""
    (tmp_path / "m2_encoder_1B.ckpt").touch()
    (tmp_path / "vlmo" / "tokenizer").mkdir(parents=True)
    (tmp_path / "vlmo" / "tokenizer" / "sp.model").touch()
    assert family_of(tmp_path) == "m2"
    assert width_of(tmp_path, "m2") == 1024
    assert find_pieces(tmp_path) == tmp_path / "vlmo" / "tokenizer" / "sp.model"


def test_what_is_for_texts_is_of_no_family(tmp_path: Path) -> None:
    """A folder of a sentence model, and one without settings, are left to others."""
    assert family_of(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert family_of(tmp_path) is None


def test_settings_that_say_only_what_is_unusual_are_read(tmp_path: Path) -> None:
    """SigLIP's first version names its family and nothing else: the rest is as usual."""
    (tmp_path / "config.json").write_text('{"model_type": "siglip", "vision_config": {}}')
    assert (width_of(tmp_path, "siglip"), positions_of(tmp_path, "siglip")) == (768, 64)
    assert (image_side_of(tmp_path, "siglip"), patch_side_of(tmp_path, "siglip")) == (224, 16)
    config = {"model_type": "clip", "vision_config": {"patch_size": 14}, "projection_dim": 768}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert (width_of(tmp_path, "clip"), positions_of(tmp_path, "clip")) == (768, 77)
    assert (image_side_of(tmp_path, "clip"), patch_side_of(tmp_path, "clip")) == (224, 14)


@pytest.mark.parametrize("content", ["{}", '{"text_config": {"hidden_size": "wide"}}', "["])
def test_settings_without_sizes_are_refused(tmp_path: Path, content: str) -> None:
    """What the files do not say is not guessed."""
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(Conflict, match=r"config\.json"):
        width_of(tmp_path, "qwen3_vl")


def test_processor_is_read_from_either_file(tmp_path: Path) -> None:
    """Newer versions of transformers write it below; numbers of filters are Pillow's."""
    settings = {"size": 224, "crop_size": 224, "do_center_crop": True, "resample": 2,
                "image_mean": [0.5] * 3, "image_std": [0.4] * 3}  # fmt: skip
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    processor = read_processor(tmp_path)
    assert processor.filter is Filter.BILINEAR
    assert (processor.crop, processor.deviation) == (224, (0.4, 0.4, 0.4))
    settings["resample"] = 7
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(Conflict, match="how images are prepared"):
        read_processor(tmp_path)
