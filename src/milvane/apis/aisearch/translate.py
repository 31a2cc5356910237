"""From the AI Search dialect's bodies to the domain's values, and back. Pure."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import orjson
from pydantic import ValidationError

from milvane.apis.aisearch.wire import Body, MultimodalBody, SparseBody, TextBody
from milvane.apis.aisearch.wire import Content as WireContent
from milvane.apis.openai.translate import choose_lane
from milvane.apis.pieces import items_per_piece, render_items
from milvane.domain.catalogue import MODELS, find_model
from milvane.domain.contents import Content, MediaPart, Part
from milvane.domain.errors import InvalidInput, ModelNotFound
from milvane.domain.models import (
    DENSE_ONLY,
    SPARSE_ONLY,
    Modality,
    Model,
    Output,
    Platform,
    Purpose,
)
from milvane.domain.sources import read_part
from milvane.serving.content_requests import ContentRequest, EmbeddedContents
from milvane.serving.embedding import Embedded, EmbedRequest

MAX_BODY_BYTES = 8 * 1024 * 1024

Parsed = TypeVar("Parsed", bound=Body)


def parse(content: bytes, kind: type[Parsed]) -> Parsed:
    """
    Read a body.

    Raises:
        InvalidInput: If it is not JSON, or not such a body; the message begins as the hosted
            service's does.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _refusal_of(error) from error


def _refusal_of(error: ValidationError) -> InvalidInput:
    """Say what is wrong first; of a text or a list of texts, what is wrong as a list."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    of_same = [each for each in problems if each["loc"][:1] == first["loc"][:1]]
    problem = of_same[-1]
    steps = [step for step in problem["loc"] if isinstance(step, int) or "[" not in step]
    place = ".".join(str(step) for step in steps)
    index = next((step for step in steps if isinstance(step, int)), None)
    at = f" at {place}" if place else ""
    return InvalidInput(f"JSON parse error: {problem['msg']}{at}", index=index)


def find_service(service_id: str, *, sparse: bool = False, multimodal: bool = False) -> Model:
    """
    Find the model of a service id, on the address that it belongs to.

    Raises:
        ModelNotFound: If there is no such service there.
    """
    known = [
        model.name
        for model in MODELS.values()
        if model.platform is Platform.AI_SEARCH
        and (Modality.IMAGE in model.modalities) == multimodal
        and (Output.DENSE not in model.outputs) == sparse
    ]
    if service_id not in known:
        raise ModelNotFound(service_id, known=", ".join(known))
    return find_model(service_id)


def check_size(body_bytes: int, inputs: int, *, max_inputs: int, max_body_bytes: int) -> None:
    """
    Refuse a request without inputs, or with too many or too large ones.

    Raises:
        InvalidInput: If it is one of those.
    """
    if inputs == 0:
        raise InvalidInput("input is an empty list", parameter="input")
    if inputs > max_inputs:
        raise InvalidInput(
            f"input has {inputs} entries, and at most {max_inputs} are taken", parameter="input"
        )
    if body_bytes > max_body_bytes:
        raise InvalidInput(f"the body has {body_bytes} bytes, at most {max_body_bytes} are taken")


def texts_of(body: TextBody) -> list[str]:
    """List the texts of a body."""
    return [body.input] if isinstance(body.input, str) else body.input


def to_text_request(body: TextBody, model: Model) -> EmbedRequest:
    """Say in the domain's words what a body asks for."""
    texts = texts_of(body)
    return EmbedRequest(
        model=model.name,
        texts=texts,
        purpose=Purpose(body.input_type),
        lane=choose_lane(len(texts)),
        outputs=SPARSE_ONLY if isinstance(body, SparseBody) else DENSE_ONLY,
    )


def to_content_request(body: MultimodalBody, model: Model, *, is_strict: bool) -> ContentRequest:
    """
    Say in the domain's words what a body asks for.

    Raises:
        InvalidInput: If an input has neither a text nor an image.
    """
    return ContentRequest(
        model=model.name,
        contents=[_content_of(each, index, model) for index, each in enumerate(body.input)],
        lane=choose_lane(len(body.input)),
        keeps_contract=is_strict,
    )


def _content_of(content: WireContent, index: int, model: Model) -> Content:
    parts: list[Part] = []
    if content.text is not None:
        parts.append(content.text)
    if content.image is not None and (content.text is None or model.fuses):
        parts.append(_image(content.image, index))
    if not parts:
        raise InvalidInput(f"input {index} has neither text nor image", index=index)
    return Content(tuple(parts))


def _image(source: str, index: int) -> MediaPart:
    if not isinstance(read_part(source), MediaPart):
        raise InvalidInput(f"the image of input {index} is no URL and no data URI", index=index)
    return MediaPart(source.strip(), Modality.IMAGE)


def usage_of(embedded: EmbeddedContents) -> dict[str, int]:
    """Say what a request of contents counts for."""
    total = embedded.total
    return {
        "image": embedded.images,
        "token_count": total.total,
        "image_token": total.image,
        "text_token": total.text,
    }


def render_vectors(
    embedded: Embedded | EmbeddedContents, usage: dict[str, int], latency_ms: int, request_id: str
) -> Iterator[bytes]:
    """
    Write an answer of dense vectors, piece by piece.

    Returns:
        Pieces that together are one JSON object; each takes about a millisecond at most.
    """
    rows = np.ascontiguousarray(embedded.vectors)
    items: Iterator[dict[str, object]] = (
        {"index": index, "embedding": row} for index, row in enumerate(rows)
    )
    yield b'{"result":{"embeddings":['
    yield from render_items(items, per_piece=items_per_piece(rows))
    yield b"]}," + _rest(embedded, usage, latency_ms, request_id)


def render_terms(
    embedded: Embedded, body: SparseBody, latency_ms: int, request_id: str
) -> Iterator[bytes]:
    """Write an answer of weighted terms, piece by piece."""
    items: Iterator[dict[str, object]] = (
        {"index": index, "embedding": _terms(embedded, index, has_token=body.return_token)}
        for index in range(len(embedded.sparse))
    )
    usage = {"token_count": embedded.total_tokens}
    yield b'{"result":{"sparse_embeddings":['
    yield from render_items(items, per_piece=32)
    yield b"]}," + _rest(embedded, usage, latency_ms, request_id)


def _terms(embedded: Embedded, index: int, *, has_token: bool) -> list[dict[str, object]]:
    vector = embedded.sparse[index]
    weights = np.round(vector.values.astype(np.float64), 6).tolist()
    terms: list[dict[str, object]] = [
        {"token_id": token_id, "weight": weight}
        for token_id, weight in zip(vector.indexes.tolist(), weights, strict=True)
    ]
    if has_token and embedded.terms is not None:
        texts = embedded.terms.token_texts(vector.indexes)
        for term, text in zip(terms, texts, strict=True):
            term["token"] = text
    return terms


def _rest(
    embedded: Embedded | EmbeddedContents,
    usage: dict[str, int],
    latency_ms: int,
    request_id: str,
) -> bytes:
    rest: dict[str, Any] = {"request_id": request_id, "latency": latency_ms, "usage": usage}
    if embedded.cut_inputs:
        rest["milvane"] = {"cut_inputs": list(embedded.cut_inputs)}
    return orjson.dumps(rest)[1:]
