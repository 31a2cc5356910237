"""From the native dialect's bodies to the domain's values, and back. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson

from milvane.apis.dashscope.errors import URL_ERROR
from milvane.apis.dashscope.wire import TextBody
from milvane.apis.openai.errors import ALGORITHM
from milvane.apis.openai.translate import choose_lane
from milvane.apis.pieces import items_per_piece, render_items
from milvane.domain.catalogue import MODELS, find_model
from milvane.domain.errors import InvalidInput, ModelNotFound, PermissionDenied
from milvane.domain.models import (
    DENSE_ONLY,
    SPARSE_ONLY,
    DimensionList,
    Model,
    Output,
    Platform,
    Purpose,
)
from milvane.domain.vectors import SparseVector
from milvane.serving.embedding import Embedded, EmbedRequest
from milvane.serving.ports import TermWeigher

OUTPUTS: Mapping[str, frozenset[Output]] = MappingProxyType(
    {
        "dense": DENSE_ONLY,
        "sparse": SPARSE_ONLY,
        "dense&sparse": DENSE_ONLY | SPARSE_ONLY,
    }
)

_OLD_BATCH_INPUTS = 25
"""Models with this limit name the offending parameter in an older way."""


def find_studio_model(name: str) -> Model:
    """
    Find a model that this dialect has.

    Raises:
        ModelNotFound: If there is none of this name, or only other APIs have it.
    """
    model = find_model(name)
    if model.platform is not Platform.MODEL_STUDIO:
        raise ModelNotFound(name, known=", ".join(each.name for each in studio_models()))
    return model


def studio_models() -> list[Model]:
    """List the models that this dialect has."""
    return [model for model in MODELS.values() if model.platform is Platform.MODEL_STUDIO]


def check_text_model(model: Model) -> None:
    """
    Refuse a model that does not belong to the address of texts.

    Raises:
        InvalidInput: If it is a multimodal one.

        PermissionDenied: If it works only in the background.
    """
    if not model.is_text_only:
        raise InvalidInput(f"{URL_ERROR} ({model.name} is served under multimodal-embedding)")
    if model.is_asynchronous:
        raise PermissionDenied("current user api does not support synchronous calls.")


def check_multimodal_model(model: Model) -> None:
    """
    Refuse a model that does not belong to the address of contents.

    Raises:
        InvalidInput: If it is one for text alone.
    """
    if model.is_text_only:
        raise InvalidInput(f"{URL_ERROR} ({model.name} is served under text-embedding)")


def check_count(inputs: int, limit: int) -> None:
    """
    Refuse a request with too many inputs.

    Raises:
        InvalidInput: If it has more than the limit.
    """
    if inputs > limit:
        place = "payload.input.contents" if limit == _OLD_BATCH_INPUTS else "input.contents"
        raise InvalidInput(
            f"{ALGORITHM}Value error, batch size is invalid, it should not be larger than "
            f"{limit}.: {place}: the request has {inputs} inputs",
            parameter="input",
        )


def to_request(body: TextBody, model: Model) -> EmbedRequest:
    """Say in the domain's words what a body asks for."""
    parameters = body.parameters
    has_one_dimension = isinstance(model.dimensions, DimensionList) and (
        len(model.dimensions.values) == 1
    )
    return EmbedRequest(
        model=model.name,
        texts=body.input.texts,
        dimension=None if has_one_dimension else parameters.dimension,
        purpose=Purpose(parameters.text_type),
        instruction=parameters.instruct,
        lane=choose_lane(len(body.input.texts)),
        outputs=OUTPUTS[parameters.output_type],
        cut_long_inputs=parameters.truncate,
    )


def render_text_answer(embedded: Embedded, request_id: str) -> Iterator[bytes]:
    """
    Write the answer, piece by piece.

    Returns:
        Pieces that together are one JSON object; each takes about a millisecond at most.
    """
    usage: dict[str, Any] = {"total_tokens": embedded.total_tokens}
    usage |= notice(embedded)
    yield b'{"output":{"embeddings":['
    yield from render_items(_text_items(embedded), per_piece=items_per_piece(embedded.vectors))
    yield b"]}," + orjson.dumps({"usage": usage, "request_id": request_id})[1:]


def notice(embedded: Embedded) -> dict[str, Any]:
    """Report what was cut and what was ignored; empty if nothing was."""
    told: dict[str, Any] = {}
    if embedded.cut_inputs:
        told["cut_inputs"] = embedded.cut_inputs
    if embedded.ignored_instruction:
        told["ignored"] = ["instruct"]
    return {"milvane": told} if told else {}


def _text_items(embedded: Embedded) -> Iterator[dict[str, object]]:
    rows = np.ascontiguousarray(embedded.vectors)
    for index in range(len(embedded.token_counts)):
        item: dict[str, object] = {"text_index": index}
        if rows.shape[1]:
            item["embedding"] = rows[index]
        if embedded.terms is not None:
            item["sparse_embedding"] = _terms(embedded.sparse[index], embedded.terms)
        yield item


def _terms(vector: SparseVector, terms: TermWeigher) -> Sequence[dict[str, object]]:
    # Six digits are more than a float32 of this size holds, and half the text.
    values = np.round(vector.values.astype(np.float64), 6).tolist()
    return [
        {"index": index, "value": value, "token": token}
        for index, value, token in zip(
            vector.indexes.tolist(), values, terms.token_texts(vector.indexes), strict=True
        )
    ]
