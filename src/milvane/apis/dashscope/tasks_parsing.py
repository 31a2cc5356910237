"""Reading requests for asynchronous tasks. Pure."""

from milvane.apis.dashscope.parsing import (
    input_of,
    missing_input,
    model_of,
    parse_object,
    parse_parameters,
)
from milvane.apis.dashscope.tasks_wire import FileInput, TaskBody
from milvane.apis.dashscope.wire import TextParameters
from milvane.domain.errors import InvalidInput

_MAX_URL_CHARACTERS = 2048


def parse_task_body(content: bytes, *, reads_nests: bool) -> TaskBody:
    """
    Read a request to embed a file of texts.

    Args:
        content: As it came.

        reads_nests: Whether parameters count also where clients nest them by mistake.

    Raises:
        InvalidInput: If it is not such a request.
    """
    fields = parse_object(content)
    model = model_of(fields)
    given = input_of(fields)
    url = given.get("url") or given.get("file_url")
    if url is None:
        raise missing_input("input.url names no file")
    if not isinstance(url, str) or len(url) > _MAX_URL_CHARACTERS:
        raise InvalidInput("input.url is not a URL", parameter="input")
    parameters = parse_parameters(fields, TextParameters, reads_nests=reads_nests)
    return TaskBody(model=model, input=FileInput(url=url), parameters=parameters)
