"""Reading the native dialect's bodies, in every form that real clients send. Pure."""

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from milvane.apis.dashscope.errors import Refused
from milvane.apis.dashscope.wire import (
    MultimodalBody,
    MultimodalInput,
    MultimodalParameters,
    TextBody,
    TextInput,
    TextParameters,
)
from milvane.apis.openai.errors import ALGORITHM
from milvane.domain.errors import InvalidInput

_NOT_TEXT = "Value error, contents is neither str nor list of str.: input.contents"
_NESTS = ("parameters", "kwargs")
"""Keys of `parameters` under which some clients put the parameters again; the last wins."""
_SPELLINGS = {"instruction": "instruct", "dimensions": "dimension"}

Parameters = TypeVar("Parameters", bound=BaseModel)


def parse_text_body(content: bytes, *, reads_nests: bool) -> TextBody:
    """
    Read a request to embed texts.

    Args:
        content: As it came.

        reads_nests: Whether parameters count also where clients nest them by mistake.

    Raises:
        InvalidInput: If it is not such a request.
    """
    fields = parse_object(content)
    model = model_of(fields)
    texts = input_of(fields).get("texts")
    parameters = parse_parameters(fields, TextParameters, reads_nests=reads_nests)
    if isinstance(texts, str):
        texts = [texts]
    if texts is None or texts == []:
        raise missing_input("input.texts has no text")
    if not isinstance(texts, list):
        raise InvalidInput(f"{ALGORITHM}{_NOT_TEXT}", parameter="input")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(
                f"{ALGORITHM}{_NOT_TEXT}: input {index} is not a string",
                index=index,
                parameter="input",
            )
    # Checked above, item by item, with the index in the message.
    texts_input = TextInput.model_construct(texts=texts)
    return TextBody.model_construct(model=model, input=texts_input, parameters=parameters)


def parse_multimodal_body(content: bytes, *, reads_nests: bool) -> MultimodalBody:
    """
    Read a request to embed contents; whether media can be fetched is not known here.

    Raises:
        InvalidInput: If it is not such a request.
    """
    fields = parse_object(content)
    model = model_of(fields)
    contents = input_of(fields).get("contents")
    if contents is None or contents == []:
        raise missing_input("input.contents has no content")
    parameters = parse_parameters(fields, MultimodalParameters, reads_nests=reads_nests)
    try:
        parsed = MultimodalInput.model_validate({"contents": contents})
    except ValidationError as error:
        raise _refusal_of(error, "input") from error
    for index, item in enumerate(parsed.contents):
        if not isinstance(item, str):
            _check_content(item.model_dump(exclude={"factor"}, exclude_none=True), index)
    return MultimodalBody(model=model, input=parsed, parameters=parameters)


def _check_content(parts: dict[str, Any], index: int) -> None:
    if not parts:
        raise InvalidInput(
            f"{ALGORITHM}contents {index} has none of text, image, video, multi_images",
            index=index,
            parameter="input",
        )
    for kind in ("image", "video", "multi_images"):
        media = parts.get(kind, [])
        for address in [media] if isinstance(media, str) else media:
            inline = ("video/",) if kind == "video" and media == address else ("image/", "video/")
            if not _is_address(address, inline):
                raise Refused(
                    "The provided URL does not appear to be valid. Ensure it is correctly "
                    f"formatted.: {kind} of contents {index}",
                    code="InvalidParameter",
                    index=index,
                )


def _is_address(text: str, inline: tuple[str, ...]) -> bool:
    scheme, colon, rest = text.partition(":")
    if scheme.lower() == "data":
        kind, comma, encoded = rest.partition(";base64,")
        return kind.startswith(inline) and bool(comma and encoded)
    return bool(colon) and scheme.lower() in {"http", "https", "oss"} and len(rest) > len("//")


def parse_object(content: bytes) -> dict[str, Any]:
    """Read a body as an object; raises `InvalidInput` if it is none."""
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Refused(
            f"The input parameter requires json format. ({error})", code="BadRequest.IllegalInput"
        ) from error
    if not isinstance(fields, dict):
        raise InvalidInput("Required body invalid, please check the request body format.")
    return fields


def model_of(fields: dict[str, Any]) -> str:
    """Read which model is asked for; raises `InvalidInput` if none is."""
    model = fields.get("model")
    if model is None or model == "":
        raise Refused(
            'Required parameter "model" missing from request.', code="BadRequest.EmptyModel"
        )
    if not isinstance(model, str):
        raise InvalidInput("model is not a string", parameter="model")
    return model


def input_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Read what is to be embedded; raises `InvalidInput` if nothing is."""
    given = fields.get("input")
    if given is None:
        raise missing_input("there is no input")
    if not isinstance(given, dict):
        raise Refused(
            "The input parameter requires json format. (input is not an object)",
            code="BadRequest.IllegalInput",
        )
    return given


def missing_input(why: str) -> Refused:
    """Say that there is nothing to embed."""
    return Refused(
        f"Required input parameter missing from request. ({why})", code="BadRequest.EmptyInput"
    )


def parse_parameters(
    fields: dict[str, Any], kind: type[Parameters], *, reads_nests: bool
) -> Parameters:
    """Read the parameters, wherever they are; raises `InvalidInput` if one is wrong."""
    own = fields.get("parameters") or {}
    if not isinstance(own, dict):
        raise InvalidInput("parameters is not an object", parameter="parameters")
    places: list[Any] = [own]
    if reads_nests:
        places = [fields, *(own.get(nest) for nest in _NESTS), own]
    merged = {
        _SPELLINGS.get(name, name): value
        for place in places
        if isinstance(place, dict)
        for name, value in place.items()
        if value is not None
    }
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise _refusal_of(error, "parameters") from error


def _refusal_of(error: ValidationError, part: str) -> InvalidInput:
    """Say the first thing that is wrong with a part of a body."""
    problem = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(step) for step in problem["loc"] if step not in {"str", "Content"})
    index = next((step for step in problem["loc"] if isinstance(step, int)), None)
    return InvalidInput(
        f"{ALGORITHM}Value error, {place} is invalid: {problem['msg']}: {part}.{place}",
        index=index,
        parameter=str(problem["loc"][0]) if problem["loc"] else part,
    )
