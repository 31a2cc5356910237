"""How the two halves of each family are opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from milvane.domain.errors import Conflict
from milvane.domain.pictures import Filter, Fit, Sizing
from milvane.inference.contents import describing
from milvane.inference.contents.describing import (
    CLIP,
    M2,
    SIGLIP,
    Processor,
    find_m2_file,
    find_pieces,
    image_side_of,
    patch_side_of,
    positions_of,
    read_processor,
    read_settings,
)
from milvane.inference.contents.encoders.chat import GME, QWEN3_VL, ChatEncoder, ChatFamily
from milvane.inference.contents.encoders.patches import PatchShape
from milvane.inference.contents.encoders.towers import TowerEncoder, Towers
from milvane.inference.contents.networks.chat import ChatNetwork
from milvane.inference.contents.networks.device import Device
from milvane.inference.contents.networks.m2 import M2Pair
from milvane.inference.contents.networks.towers import ClipPair, SiglipPair, TowerNetwork
from milvane.inference.contents.networks.words import HubWords, PieceWords
from milvane.inference.contents.ports import Encoder, Network

M2_TEXT_TOKENS = 50
"""M2-Encoder was trained on texts of up to 52 tokens, special ones included."""
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Opened:
    """Both halves of a family."""

    encoder: Encoder
    network: Network


def _open_qwen3_vl(folder: Path, device: Device) -> Opened:
    return _open_chat(folder, device, QWEN3_VL)


def _open_gme(folder: Path, device: Device) -> Opened:
    return _open_chat(folder, device, GME)


def _open_chat(folder: Path, device: Device, family: ChatFamily) -> Opened:
    processor, shape = read_processor(folder), _patch_shape(folder)
    told = {key: processor.settings.get(key) for key in ("patch_size", "merge_size")}
    if told != {"patch_size": shape.side, "merge_size": shape.merge}:
        raise Conflict(f"{folder}: its network and its image processor cut other patches")
    window_tokens = positions_of(folder, describing.GME)
    encoder = ChatEncoder(folder, family, shape, window_tokens=window_tokens)
    network = ChatNetwork(folder, device, shape, mean=processor.mean, deviation=processor.deviation)
    return Opened(encoder, network)


def _patch_shape(folder: Path) -> PatchShape:
    config = read_settings(folder / "config.json").get("vision_config") or {}
    try:
        return PatchShape(
            side=int(config["patch_size"]),
            merge=int(config["spatial_merge_size"]),
            frames=int(config["temporal_patch_size"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Conflict(f"{folder / 'config.json'} does not say {error} of its patches") from error


def _open_clip(folder: Path, device: Device) -> Opened:
    words = HubWords(folder)
    towers = Towers(
        family=CLIP,
        picture=(picture := _square(folder, read_processor(folder))),
        image_tokens=_image_tokens(folder, CLIP, picture.side),
        window_tokens=positions_of(folder, CLIP) - words.frame_tokens,
    )
    return _pair(folder, device, TowerEncoder(towers, words), ClipPair(folder, device))


def _open_siglip(folder: Path, device: Device) -> Opened:
    words, positions = HubWords(folder), positions_of(folder, SIGLIP)
    towers = Towers(
        family=SIGLIP,
        picture=(picture := _square(folder, read_processor(folder))),
        image_tokens=_image_tokens(folder, SIGLIP, picture.side),
        window_tokens=positions - words.frame_tokens,
        text_cost=positions,
    )
    pair = SiglipPair(folder, device, padding=words.padding, fixed_tokens=positions)
    return _pair(folder, device, TowerEncoder(towers, words), pair)


def _pair(folder: Path, device: Device, encoder: Encoder, pair: ClipPair | SiglipPair) -> Opened:
    processor = read_processor(folder)
    network = TowerNetwork(device, pair, mean=processor.mean, deviation=processor.deviation)
    return Opened(encoder, network)


def _open_m2(folder: Path, device: Device) -> Opened:
    file, pieces = find_m2_file(folder), find_pieces(folder)
    if file is None or pieces is None:
        raise Conflict(
            f"{folder} holds no M2-Encoder: its tensors or {describing.PIECES} are missing"
        )
    pair = M2Pair(file, device)
    towers = Towers(
        family=M2,
        picture=Sizing(Fit.STRETCH, Filter.BICUBIC, side=pair.shape.image_side),
        image_tokens=pair.shape.patches,
        window_tokens=M2_TEXT_TOKENS,
    )
    network = TowerNetwork(device, pair, mean=_HALF, deviation=_HALF)
    return Opened(TowerEncoder(towers, PieceWords(pieces)), network)


def _square(folder: Path, processor: Processor) -> Sizing:
    """Say how a picture becomes the square that a tower takes."""
    shorter = _side(processor.size, "shortest_edge")
    if processor.crop is not None:
        side = _side(processor.crop, "height")
        if side is not None and side == shorter:
            return Sizing(Fit.COVER, processor.filter, side=side)
    elif isinstance(processor.size, dict):
        high, wide = processor.size.get("height"), processor.size.get("width")
        if isinstance(high, int) and high == wide:
            return Sizing(Fit.STRETCH, processor.filter, side=high)
    raise Conflict(
        f"{folder}: images are to become {processor.size}, cut to {processor.crop}, which is not "
        "known here"
    )


def _side(size: Any, key: str) -> int | None:
    """Read a side; older files give a bare number for it."""
    found = size.get(key) if isinstance(size, dict) else size
    return found if isinstance(found, int) else None


def _image_tokens(folder: Path, family: str, side: int) -> int:
    if image_side_of(folder, family) != side:
        raise Conflict(f"{folder}: its network and its image processor take other sizes of images")
    return int((side // patch_side_of(folder, family)) ** 2)


FAMILIES: Mapping[str, Callable[[Path, Device], Opened]] = MappingProxyType(
    {
        describing.QWEN3_VL: _open_qwen3_vl,
        describing.GME: _open_gme,
        CLIP: _open_clip,
        SIGLIP: _open_siglip,
        M2: _open_m2,
    }
)
"""By the name that `describing.family_of` gives."""
