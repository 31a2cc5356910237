"""Contents of the native dialect: what a body asks for, and the answer in the model's own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from milvane.apis.dashscope.wire import Content as WireContent
from milvane.apis.dashscope.wire import MultimodalBody, MultimodalParameters
from milvane.apis.openai.errors import ALGORITHM
from milvane.apis.openai.translate import choose_lane
from milvane.apis.pieces import items_per_piece, render_items
from milvane.domain.contents import Content, MediaPart, Part, Wishes
from milvane.domain.errors import InvalidInput
from milvane.domain.models import Modality, Model
from milvane.serving.content_requests import ContentRequest, EmbeddedContents

PICTURE_TOKENS = (127, 402, 578, 1026)
"""Tokens of an image, by `res_level`."""

QWEN3_VL = "qwen3-vl-embedding"
_FUSION = "fusion"
_FUSED = "fused"


@dataclass(frozen=True, slots=True)
class AskedContents:
    """What a body comes to."""

    request: ContentRequest
    types: Sequence[str]
    """How the answer calls each vector."""
    ignored: Sequence[str]
    """What was asked for, and changes nothing here."""


def to_content_request(body: MultimodalBody, model: Model, *, is_strict: bool) -> AskedContents:
    """
    Say in the domain's words what a body asks for.

    Args:
        body: What came; its addresses have the form of addresses.

        model: Whose contract it is.

        is_strict: Whether the limits of the contract hold.

    Raises:
        InvalidInput: If a content is of a kind that no model here takes, or there are too many
            images or videos in all.
    """
    items = [_read(item, index, model) for index, item in enumerate(body.input.contents)]
    if is_strict:
        _check_media([part for item in items for part in item.parts], model)
    parameters, types = body.parameters, [item.type for item in items]
    contents = [Content(item.parts) for item in items]
    if parameters.enable_fusion:
        contents = [Content(tuple(part for item in items for part in item.parts))]
        types = [_FUSION]
    elif model.name == QWEN3_VL:
        types = [_FUSION if item.type == _FUSED else "vl" for item in items]
    return AskedContents(
        ContentRequest(
            model=model.name,
            contents=contents,
            dimension=parameters.dimension,
            wishes=_wishes(parameters),
            lane=choose_lane(len(contents)),
            cut_long_inputs=parameters.auto_truncation,
            keeps_contract=is_strict,
        ),
        types,
        ["factor"] if any(item.has_factor for item in items) else [],
    )


@dataclass(frozen=True, slots=True)
class _Item:
    parts: tuple[Part, ...]
    type: str
    has_factor: bool = False


def _read(item: WireContent | str, index: int, model: Model) -> _Item:
    if isinstance(item, str):
        return _Item((item,), "text")
    if item.audio is not None:
        raise InvalidInput(
            f"{ALGORITHM}{model.name} takes no audio: contents {index}",
            index=index,
            parameter="input",
        )
    parts: list[tuple[str, Part]] = []
    if item.text is not None:
        parts.append(("text", item.text))
    if item.image is not None:
        parts.append(("image", MediaPart(item.image, Modality.IMAGE)))
    if item.multi_images is not None:
        images = [MediaPart(each, Modality.IMAGE) for each in item.multi_images]
        parts += [("multi_images", each) for each in images]
    if item.video is not None:
        parts += [("video", part) for part in _video(item.video)]
    kinds = {kind for kind, _ in parts}
    return _Item(
        tuple(part for _, part in parts),
        kinds.pop() if len(kinds) == 1 else _FUSED,
        has_factor=item.factor not in (None, 1),
    )


def _video(video: str | list[str]) -> list[MediaPart]:
    """Read a video, or a list of its frames; a list of one may be either."""
    if isinstance(video, str):
        return [MediaPart(video, Modality.VIDEO)]
    modality = Modality.IMAGE if len(video) > 1 else None
    return [MediaPart(each, modality) for each in video]


def _check_media(parts: Sequence[Part], model: Model) -> None:
    modalities = [part.modality for part in parts if isinstance(part, MediaPart)]
    limits = {Modality.IMAGE: model.media.max_images, Modality.VIDEO: model.media.max_videos}
    for modality, limit in limits.items():
        count = modalities.count(modality)
        if limit is not None and count > limit:
            raise InvalidInput(
                f"{ALGORITHM}Value error, the number of {modality.value}s is invalid, it should "
                f"not be larger than {limit}.: input.contents: the request has {count}",
                parameter="input",
            )


def _wishes(parameters: MultimodalParameters) -> Wishes:
    level = parameters.res_level
    return Wishes(
        instruction=parameters.instruct,
        fps=parameters.fps,
        max_frames=parameters.max_video_frames,
        max_picture_tokens=None if level is None else PICTURE_TOKENS[level],
    )


def render_content_answer(
    embedded: EmbeddedContents, asked: AskedContents, request_id: str
) -> Iterator[bytes]:
    """Write the answer to a request of contents, piece by piece."""
    usage = usage_of(embedded, asked.request.model) | _notice(embedded, asked)
    rows = np.ascontiguousarray(embedded.vectors)
    items: Iterator[dict[str, object]] = (
        {"index": index, "embedding": row, "type": kind}
        for index, (row, kind) in enumerate(zip(rows, asked.types, strict=True))
    )
    yield b'{"output":{"embeddings":['
    yield from render_items(items, per_piece=items_per_piece(rows))
    yield b"]}," + orjson.dumps({"usage": usage, "request_id": request_id})[1:]


def usage_of(embedded: EmbeddedContents, model: str) -> dict[str, Any]:
    """Say what a request counts for, with the fields that the model has and no others."""
    total = embedded.total
    pictures = total.image + total.video
    usage: dict[str, Any] = {"input_tokens": total.text, "image_tokens": pictures}
    if model == QWEN3_VL:
        return usage | {"total_tokens": total.total}
    return usage | {
        "image_count": embedded.images,
        "duration": round(embedded.duration_s, 3),
    }


def _notice(embedded: EmbeddedContents, asked: AskedContents) -> dict[str, Any]:
    ignored = list(asked.ignored) + ["instruct"] * embedded.ignored_instruction
    told: dict[str, Any] = {}
    if embedded.cut_inputs:
        told["cut_inputs"] = list(embedded.cut_inputs)
    if ignored:
        told["ignored"] = ignored
    return {"milvane": told} if told else {}
