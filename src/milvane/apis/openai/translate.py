"""From the dialect's bodies to the domain's values, and back. Pure."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pybase64 import b64encode
from pydantic import ValidationError

from milvane.apis.openai.errors import ALGORITHM, NotOffered
from milvane.apis.openai.token_ids import count_inputs, refusal_of, texts_of
from milvane.apis.openai.wire import EmbeddingsBody, ModelCard, Serving
from milvane.apis.ports import TokenTexts
from milvane.domain.catalogue import WeightsName, find_model
from milvane.domain.errors import InvalidInput
from milvane.domain.models import Lane, Model, Output, Purpose
from milvane.serving.embedding import Embedded, EmbedRequest

INTERACTIVE_INPUTS = 8
"""A person who waits asks for a few vectors; a program that loads asks for many."""

VALUES_PER_PIECE = {"float": 32_768, "base64": 65_536}
"""How many numbers turn into bytes at once: a millisecond of JSON, a tenth of that of base64."""


def parse_embeddings(content: bytes, *, max_inputs: int) -> EmbeddingsBody:
    """
    Read the body of a request to embed.

    Raises:
        InvalidInput: If it is not JSON or not such a body, has no inputs, or too many.
    """
    try:
        body = EmbeddingsBody.model_validate_json(content)
    except ValidationError as error:
        raise _refusal_of(error) from error
    check_count(count_inputs(body.input), max_inputs)
    return body


def to_request(body: EmbeddingsBody, vocabulary: TokenTexts | None) -> EmbedRequest:
    """
    Say in the domain's words what a body asks for.

    Args:
        body: What came.

        vocabulary: What token ids mean; none refuses them.

    Raises:
        InvalidInput: If it has token ids that nobody knows.
    """
    texts = texts_of(body.input, vocabulary)
    return EmbedRequest(
        model=body.model,
        texts=texts,
        dimension=body.dimensions,
        purpose=Purpose(body.text_type or "document"),
        instruction=body.instruct,
        lane=choose_lane(len(texts)),
        cut_long_inputs=body.truncate,
    )


def find_offered_model(name: str, *, inputs: int, are_limits_strict: bool) -> Model:
    """
    Find a model that this dialect has.

    Args:
        name: Its exact name.

        inputs: How many the request has.

        are_limits_strict: Whether the contract's batch limit holds.

    Raises:
        ModelNotFound: If the catalogue has no such model.

        NotOffered: If other APIs have it, and this one does not.

        InvalidInput: If the request has more inputs than the contract allows, and that counts.
    """
    model = find_model(name)
    if model.is_asynchronous or not model.is_text_only or Output.DENSE not in model.outputs:
        raise NotOffered(f"Unsupported model {name} for OpenAI compatibility mode.")
    if are_limits_strict:
        check_count(inputs, model.max_batch_inputs)
    return model


def choose_lane(inputs: int) -> Lane:
    """Guess from the number of inputs who waits for the answer: the dialect does not say."""
    return Lane.INTERACTIVE if inputs <= INTERACTIVE_INPUTS else Lane.BULK


def render_embeddings(
    embedded: Embedded, *, body: EmbeddingsBody, request_id: str
) -> Iterator[bytes]:
    """
    Write the answer, piece by piece.

    Returns:
        Pieces that together are one JSON object; each takes about a millisecond at most, so that
        other requests can run in between. (A thread would not help: the encoder keeps the GIL.)
    """
    encoding = body.encoding_format or "float"
    vectors = np.ascontiguousarray(embedded.vectors, dtype="<f4")
    count, dimension = vectors.shape
    rows_per_piece = max(1, VALUES_PER_PIECE[encoding] // dimension)
    yield b'{"object":"list","data":['
    for first in range(0, count, rows_per_piece):
        rows = vectors[first : first + rows_per_piece]
        if first:
            yield b","
        yield from _render_rows(rows, first=first, encoding=encoding)
    yield b"]," + orjson.dumps(_rest_of_answer(embedded, body, request_id))[1:]


def model_card(model: Model, weights: WeightsName | None) -> ModelCard:
    """Describe a model, and say openly which weights serve it here."""
    return ModelCard(
        id=model.name,
        milvane=Serving(
            weights=weights,
            description=model.description,
            dimensions=str(model.dimensions),
            default_dimension=model.default_dimension,
            max_input_tokens=model.max_input_tokens,
        ),
    )


def _render_rows(rows: NDArray[np.float32], *, first: int, encoding: str) -> Iterator[bytes]:
    if encoding == "base64":
        yield _render_base64(rows, first=first)
        return
    items = [
        {"object": "embedding", "index": index, "embedding": row}
        for index, row in enumerate(rows, start=first)
    ]
    yield orjson.dumps(items, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def _render_base64(rows: NDArray[np.float32], *, first: int) -> bytes:
    """Put the JSON together by hand, as base64 has nothing to escape; encode all rows in one go."""
    raw = rows.view(np.uint8)
    lacking = -raw.shape[1] % 3  # three bytes become four letters: rows must not run together
    if lacking:
        raw = np.pad(raw, ((0, 0), (0, lacking)))
    text = memoryview(b64encode(raw.data))
    letters = len(text) // len(rows)
    end = b"=" * lacking + b'"}'
    parts: list[bytes | memoryview] = []
    for row in range(len(rows)):
        comma = b"," if row else b""
        parts += [
            b'%b{"object":"embedding","index":%d,"embedding":"' % (comma, first + row),
            text[row * letters : (row + 1) * letters - lacking],
            end,
        ]
    return b"".join(parts)


def _rest_of_answer(embedded: Embedded, body: EmbeddingsBody, request_id: str) -> dict[str, Any]:
    tokens = embedded.total_tokens
    rest: dict[str, Any] = {
        "model": body.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "id": request_id,
    }
    told: dict[str, Any] = {}
    if embedded.cut_inputs:
        told["cut_inputs"] = embedded.cut_inputs
    if embedded.ignored_instruction:
        told["ignored"] = ["instruct"]
    return {**rest, "milvane": told} if told else rest


def check_count(inputs: int, max_inputs: int) -> None:
    """Refuse a request without inputs, or with too many."""
    if inputs == 0:
        raise InvalidInput(
            "Required input parameter missing from request.: input is an empty list",
            parameter="input",
        )
    if inputs > max_inputs:
        raise InvalidInput(
            f"{ALGORITHM}Value error, batch size is invalid, it should not be larger than "
            f"{max_inputs}.: input.contents: the request has {inputs} inputs",
            parameter="input",
        )


def _refusal_of(error: ValidationError) -> InvalidInput:
    """Say the first thing that is wrong with a body."""
    problems = error.errors(include_url=False, include_context=False)
    problem = problems[0]
    if problem["type"] == "json_invalid":
        return InvalidInput(f"The input parameter requires json format. {problem['msg']}")
    if not problem["loc"]:
        return InvalidInput("Required body invalid, please check the request body format.")
    parameter = str(problem["loc"][0])
    if problem["type"] == "missing":
        return InvalidInput(_missing(parameter), parameter=parameter)
    if parameter == "input":
        # The union complains first of the string, and so shows the whole.
        return refusal_of(problem["input"])
    return InvalidInput(
        f"Value error, {parameter} is invalid: {problem['msg']}", parameter=parameter
    )


def _missing(parameter: str) -> str:
    if parameter == "input":
        return "Required input parameter missing from request."
    return f'Required parameter "{parameter}" missing from request.'
