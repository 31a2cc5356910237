"""What a folder of weights for images is, read from its settings; nothing is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from milvane.domain.errors import Conflict
from milvane.domain.pictures import Filter

QWEN3_VL, GME, CLIP, SIGLIP, M2 = "qwen3_vl", "qwen2_vl", "clip", "siglip", "m2"
"""Families, as ``model_type`` in ``config.json``; M2-Encoder has no such file."""
CONTENT_FAMILIES = (QWEN3_VL, GME, CLIP, SIGLIP, M2)
"""Those that take images."""

M2_WIDTHS: Mapping[str, int] = MappingProxyType(
    {"m2_encoder_0.4B.ckpt": 768, "m2_encoder_1B.ckpt": 1024}
)
"""M2-Encoder's files, and the components of a vector that each gives."""
PIECES = "sp.model"
"""Its tokenizer, somewhere beside them."""

POOLINGS: Mapping[str, str] = MappingProxyType({QWEN3_VL: "last", GME: "last", M2: "cls"})
"""Which state becomes the vector, of families of which the catalogue says it."""
EMBEDDING_MARKS: Mapping[str, str] = MappingProxyType({QWEN3_VL: "embedding", GME: "gme"})
"""
What a repository's name holds if its network embeds.

Their settings are those of the chat models that they were made of.
"""

_WIDTHS = {
    QWEN3_VL: ("text_config", "hidden_size"),
    GME: ("hidden_size",),
    CLIP: ("projection_dim",),
    SIGLIP: ("vision_config", "hidden_size"),
}
_POSITIONS = "max_position_embeddings"
_USUAL: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        CLIP: {"projection_dim": 512, _POSITIONS: 77, "image_size": 224, "patch_size": 32},
        SIGLIP: {"hidden_size": 768, _POSITIONS: 64, "image_size": 224, "patch_size": 16},
    }
)
"""What a family's settings mean where they say nothing, as transformers reads them."""
_FILTERS = {1: Filter.LANCZOS, 2: Filter.BILINEAR, 3: Filter.BICUBIC}
"""Pillow's numbers, in which processors' files are written."""


@dataclass(frozen=True, slots=True)
class Processor:
    """How a folder says that images are prepared."""

    size: Any
    crop: Any
    """The size that is cut out of the middle; none if nothing is cut off."""
    filter: Filter
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    settings: Mapping[str, Any]
    """All that it says."""


def family_of(folder: Path) -> str | None:
    """
    Say which family of networks for images a folder is of.

    Returns:
        Nothing if it is of none that is known here, or for texts alone.
    """
    if find_m2_file(folder) is not None:
        return M2
    if not (folder / "config.json").is_file():
        return None
    family = read_settings(folder / "config.json").get("model_type")
    return family if family in CONTENT_FAMILIES else None


def find_m2_file(folder: Path) -> Path | None:
    """Find M2-Encoder's tensors in a folder; nothing if they are not there."""
    return next((folder / name for name in M2_WIDTHS if (folder / name).is_file()), None)


def find_pieces(folder: Path) -> Path | None:
    """Find M2-Encoder's tokenizer in a folder or those below; nothing if it is not there."""
    return next(iter(sorted(folder.rglob(PIECES))), None)


def width_of(folder: Path, family: str) -> int:
    """
    Say how many components the vectors of a network have.

    Raises:
        Conflict: If its settings do not say it.
    """
    file = find_m2_file(folder)
    if family == M2 and file is not None:
        return M2_WIDTHS[file.name]
    return _number(folder, family, _WIDTHS[family])


def positions_of(folder: Path, family: str) -> int:
    """
    Say how many tokens of text a network has positions for, special ones included.

    Raises:
        Conflict: If its settings do not say it.
    """
    if family == M2:
        return 1022  # of every size that was published
    return _number(folder, family, ("text_config", _POSITIONS))


def image_side_of(folder: Path, family: str) -> int:
    """
    Say how large the square is that a tower for images takes, in pixels.

    Raises:
        Conflict: If its settings do not say it.
    """
    return _number(folder, family, ("vision_config", "image_size"))


def patch_side_of(folder: Path, family: str) -> int:
    """
    Say how large the patches of a tower for images are, in pixels.

    Raises:
        Conflict: If its settings do not say it.
    """
    return _number(folder, family, ("vision_config", "patch_size"))


def read_processor(folder: Path) -> Processor:
    """
    Read how images are prepared.

    Raises:
        Conflict: If the folder does not say it, or says what is not known here.
    """
    path = folder / "preprocessor_config.json"
    if path.is_file():
        settings = read_settings(path)
    else:
        path = folder / "processor_config.json"
        settings = read_settings(path).get("image_processor") or {}
    try:
        crop = settings.get("crop_size") if settings.get("do_center_crop") else None
        return Processor(
            size=settings.get("size"),
            crop=crop,
            filter=_FILTERS[settings.get("resample", 3)],
            mean=tuple(float(each) for each in settings["image_mean"]),
            deviation=tuple(float(each) for each in settings["image_std"]),
            settings=settings,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Conflict(f"{path} does not say how images are prepared: {error}") from error


def read_settings(path: Path) -> Mapping[str, Any]:
    """
    Read a file of settings.

    Raises:
        Conflict: If it cannot be read.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Conflict(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise Conflict(f"{path} holds no settings")
    return content


def _number(folder: Path, family: str, keys: tuple[str, ...]) -> int:
    """Follow keys; older files have those of the words at the top, newer ones below."""
    config = read_settings(folder / "config.json")
    found: Any = config
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if found is None and keys[0] != "vision_config":
        inner = config.get("text_config")
        found = inner.get(keys[-1]) if isinstance(inner, dict) else None
        found = config.get(keys[-1]) if found is None else found
    if found is None:
        found = _USUAL.get(family, {}).get(keys[-1])
    if not isinstance(found, int) or found < 1:
        raise Conflict(f"{folder / 'config.json'} does not say how large its network is")
    return found
