"""Every form in which real clients send a native request, and every form that is refused."""

from typing import Any

import orjson
import pytest

from milvane.apis.dashscope.errors import row_of
from milvane.apis.dashscope.parsing import parse_multimodal_body, parse_text_body
from milvane.apis.dashscope.wire import TextBody
from milvane.domain.errors import InvalidInput

MODEL = "text-embedding-v4"


def text_body(fields: dict[str, Any] | None = None, *, reads_nests: bool = True) -> TextBody:
    """Parse a good request with some fields changed."""
    whole = {"model": MODEL, "input": {"texts": ["a"]}, **(fields or {})}
    return parse_text_body(orjson.dumps(whole), reads_nests=reads_nests)


def refusal(content: bytes | dict[str, Any], parse: Any = parse_text_body) -> InvalidInput:
    """Parse a bad request; give back why it is refused."""
    if isinstance(content, dict):
        content = orjson.dumps(content)
    with pytest.raises(InvalidInput) as caught:
        parse(content, reads_nests=True)
    return caught.value


def test_absent_parameters_have_their_documented_defaults() -> None:
    """Neither `parameters` nor any of them is required, and null is the same as absent."""
    nulls = {"text_type": None, "output_type": None, "dimension": None, "instruct": None}
    for fields in ({}, {"parameters": {}}, {"parameters": None}, {"parameters": nulls}):
        parameters = text_body(fields).parameters
        assert (parameters.text_type, parameters.output_type) == ("document", "dense")
        assert (parameters.dimension, parameters.instruct) == (None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"parameters": {"text_type": "query", "dimension": 64, "output_type": "sparse"}},
        {"parameters": {"text_type": "query", "dimension": "64", "output_type": "sparse"}},
        {
            "parameters": {"kwargs": {"text_type": "query", "dimension": 64}},
            "output_type": "sparse",
        },
        {
            "parameters": {
                "parameters": {"text_type": "query", "dimension": 64, "output_type": "sparse"}
            }
        },
        {
            "text_type": "document",
            "parameters": {
                "text_type": "query",
                "dimension": 64,
                "kwargs": {"dimension": 99, "output_type": "sparse"},
            },
        },
        {"parameters": {"text_type": "query", "dimensions": 64, "output_type": "sparse"}},
    ],
)
def test_parameters_are_found_where_clients_put_them(fields: dict[str, Any]) -> None:
    """Nested, beside, as numeric strings; what stands where it belongs wins."""
    parameters = text_body(fields).parameters
    assert (parameters.text_type, parameters.dimension, parameters.output_type) == (
        "query",
        64,
        "sparse",
    )


def test_instruction_is_instruct_by_another_name() -> None:
    """The documents' own example spells and nests it otherwise."""
    fields = {"parameters": {"parameters": {"instruction": "Represent the document"}}}
    assert text_body(fields).parameters.instruct == "Represent the document"


def test_misplaced_parameters_can_be_left_alone() -> None:
    """An operator can have what the hosted service does."""
    fields = {"parameters": {"kwargs": {"text_type": "query"}}, "output_type": "sparse"}
    parameters = text_body(fields, reads_nests=False).parameters
    assert (parameters.text_type, parameters.output_type) == ("document", "dense")


@pytest.mark.parametrize(
    ("given", "texts"), [("a", ["a"]), (["a", "b"], ["a", "b"]), (["", "a"], ["", "a"])]
)
def test_texts_are_one_or_several(given: Any, texts: list[str]) -> None:
    """A single text is a list of one; an empty one is for the use case to refuse by its index."""
    assert text_body({"input": {"texts": given}}).input.texts == texts


@pytest.mark.parametrize(
    ("content", "code", "opening"),
    [
        (b"{", "BadRequest.IllegalInput", "The input parameter requires json format."),
        (b"[" * 100_000, "BadRequest.IllegalInput", "The input parameter requires json format."),
        (b"[]", "InvalidParameter", "Required body invalid, please check"),
        ({"input": {"texts": ["a"]}}, "BadRequest.EmptyModel", 'Required parameter "model"'),
        ({"model": 3, "input": {"texts": ["a"]}}, "InvalidParameter", "model is not a string"),
        ({"model": MODEL}, "BadRequest.EmptyInput", "Required input parameter missing"),
        ({"model": MODEL, "input": {}}, "BadRequest.EmptyInput", "Required input parameter"),
        ({"model": MODEL, "input": {"texts": []}}, "BadRequest.EmptyInput", "Required input"),
        ({"model": MODEL, "input": {"texts": None}}, "BadRequest.EmptyInput", "Required input"),
        ({"model": MODEL, "input": "a"}, "BadRequest.IllegalInput", "The input parameter"),
        ({"model": MODEL, "input": {"texts": {}}}, "InvalidParameter", "<400> InternalError"),
        (
            {"model": MODEL, "input": {"texts": ["a"]}, "parameters": ["x"]},
            "InvalidParameter",
            "parameters is not an object",
        ),
        (
            {"model": MODEL, "input": {"texts": ["a"]}, "parameters": {"output_type": "both"}},
            "InvalidParameter",
            "<400> InternalError.Algo.InvalidParameter: Value error, output_type is invalid",
        ),
        (
            {"model": MODEL, "input": {"texts": ["a"]}, "parameters": {"dimension": "wide"}},
            "InvalidParameter",
            "<400> InternalError.Algo.InvalidParameter: Value error, dimension is invalid",
        ),
    ],
)
def test_refusal_has_its_documented_code_and_words(
    content: bytes | dict[str, Any], code: str, opening: str
) -> None:
    """Clients match on both."""
    error = refusal(content)
    assert (row_of(error).status, row_of(error).code) == (400, code)
    assert error.message.startswith(opening)


def test_refusal_of_an_item_names_it() -> None:
    """What is no text is found by its index."""
    error = refusal({"model": MODEL, "input": {"texts": ["a", 2]}})
    assert error.index == 1
    assert "contents is neither str nor list of str.: input.contents: input 1" in error.message


@pytest.mark.parametrize(
    "contents",
    [
        ["bare"],
        [{"text": "a"}],
        [{"image": "https://a/b.png"}, {"image": "oss://a/b c.png"}],
        [{"image": "data:image/png;base64,iVBORw0KGgo="}],
        [{"video": "http://a/b.mp4"}, {"video": ["https://a/1.png", "https://a/2.png"]}],
        [{"multi_images": ["https://a/1.png"]}, {"text": "t", "factor": 2}],
        [{"text": "t", "image": "https://a/1.png", "video": "https://a/1.mp4"}],
    ],
)
def test_contents_of_every_kind_are_read(contents: list[Any]) -> None:
    """Bare strings, addresses, inline images, frames, and several parts in one."""
    content = orjson.dumps({"model": "qwen3-vl-embedding", "input": {"contents": contents}})
    body = parse_multimodal_body(content, reads_nests=True)
    assert len(body.input.contents) == len(contents)


@pytest.mark.parametrize(
    "contents",
    [
        None,
        [],
        "a",
        [3],
        [{}],
        [{"factor": 1}],
        [{"image": 3}],
        [{"image": "/home/user/a.png"}],
        [{"image": "ftp://a/b.png"}],
        [{"image": "https:"}],
        [{"image": "data:image/png;base64,"}],
        [{"image": "data:text/plain;base64,aaaa"}],
        [{"video": "data:image/png;base64,aaaa"}],
        [{"multi_images": []}],
    ],
)
def test_contents_of_no_kind_are_refused(contents: Any) -> None:
    """What could never be embedded is refused before anything is fetched."""
    fields = {"model": "qwen3-vl-embedding", "input": {"contents": contents}}
    assert refusal(fields, parse_multimodal_body).message


@pytest.mark.parametrize(
    "parameters",
    [{"output_type": "sparse"}, {"fps": 2}, {"res_level": 4}, {"max_video_frames": 65}],
)
def test_multimodal_parameters_keep_their_documented_range(parameters: dict[str, Any]) -> None:
    """The message names the parameter."""
    fields = {"model": "m", "input": {"contents": ["a"]}, "parameters": parameters}
    assert next(iter(parameters)) in refusal(fields, parse_multimodal_body).message
