"""Bodies become the domain's values, and vectors become bodies."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from milvane.apis.openai.translate import (
    VALUES_PER_PIECE,
    choose_lane,
    model_card,
    parse_embeddings,
    render_embeddings,
    to_request,
)
from milvane.apis.openai.wire import EmbeddingsAnswer, EmbeddingsBody
from milvane.domain.catalogue import MODELS, PICTURE_WEIGHTS, SERVED_BY, WEIGHTS
from milvane.domain.errors import InvalidInput
from milvane.domain.models import Lane, Model, Purpose
from milvane.serving.embedding import Embedded, EmbedRequest

MODEL = "text-embedding-v4"
matrices = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-1, 1, width=32),
)


def parse(**body: Any) -> EmbeddingsBody:
    """Parse a body for a server that takes three inputs."""
    return parse_embeddings(json.dumps(body).encode(), max_inputs=3)


def refusal(**body: Any) -> InvalidInput:
    """Parse a body that must be refused."""
    with pytest.raises(InvalidInput) as caught:
        parse(**body)
    return caught.value


def render(vectors: NDArray[np.float32], encoding: str, **embedded: Any) -> dict[str, Any]:
    """Render vectors and read the answer back."""
    body = EmbeddingsBody(model=MODEL, input="a", encoding_format=encoding)
    facts: dict[str, Any] = {"token_counts": [2] * len(vectors), "cut_inputs": [], **embedded}
    pieces = render_embeddings(Embedded(vectors, **facts), body=body, request_id="id-1")
    answer: dict[str, Any] = json.loads(b"".join(pieces))
    return answer


def test_full_body_is_translated() -> None:
    """Every documented field and our extra arrive; what is unknown is ignored."""
    body = parse(
        model=MODEL,
        input=["a", "b"],
        dimensions=256,
        encoding_format="base64",
        user="u",
        text_type="query",
        instruct="x",
        dimension="512",
        output_type=None,
    )
    assert body.encoding_format == "base64"
    assert to_request(body, None) == EmbedRequest(
        model=MODEL,
        texts=["a", "b"],
        dimension=256,
        purpose=Purpose.QUERY,
        instruction="x",
        lane=Lane.INTERACTIVE,
    )


def test_absent_and_null_fields_take_the_defaults() -> None:
    """A field that is null is a field that is not there."""
    nulls = dict.fromkeys(["dimensions", "encoding_format", "user", "text_type"])
    for extras in ({}, nulls):
        assert to_request(parse(model=MODEL, input="a", **extras), None) == EmbedRequest(
            model=MODEL,
            texts=["a"],
            dimension=None,
            purpose=Purpose.DOCUMENT,
            lane=Lane.INTERACTIVE,
        )


@pytest.mark.parametrize(
    ("inputs", "lane"),
    [(1, Lane.INTERACTIVE), (8, Lane.INTERACTIVE), (9, Lane.BULK), (2048, Lane.BULK)],
)
def test_lane_follows_the_number_of_inputs(inputs: int, lane: Lane) -> None:
    """Up to eight inputs somebody waits; above, it is a bulk load."""
    assert choose_lane(inputs) is lane


@pytest.mark.parametrize(
    ("value", "index"),
    [(3, None), (True, None), ({"a": "b"}, None), (None, None), (["a", None], 1), ([False], 0)],
)
def test_what_is_no_text_is_refused_where_it_stands(value: object, index: int | None) -> None:
    """The refusal names the offending input, and does not speak of tokens."""
    error = refusal(model=MODEL, input=value)
    assert (error.parameter, error.index) == ("input", index)
    assert "contents is neither str nor list of str" in error.message
    assert "is not a string" in error.message
    if index is not None:
        assert f"input {index} " in error.message


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("model", 3),
        ("model", "m" * 257),
        ("dimensions", "1024"),
        ("dimensions", 10.5),
        ("dimensions", True),
        ("encoding_format", "hex"),
        ("text_type", "poem"),
        ("user", 5),
    ],
)
def test_wrong_type_names_the_parameter(parameter: str, value: object) -> None:
    """Each parameter of the wrong type is refused by its own name."""
    error = refusal(**{"model": MODEL, "input": "a", parameter: value})
    assert error.parameter == parameter
    assert parameter in error.message


@pytest.mark.parametrize("parameter", ["model", "input"])
def test_missing_parameter_is_named(parameter: str) -> None:
    """What is not there is asked for in the documented words."""
    body = {"model": MODEL, "input": "a"}
    del body[parameter]
    error = refusal(**body)
    assert error.parameter == parameter
    assert error.message.startswith("Required ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "requires json format"),
        (b"{'model': 1}", "requires json format"),
        (b"\xff", "requires json format"),
        (b'"text"', "Required body invalid"),
        (b"[]", "Required body invalid"),
        (b"null", "Required body invalid"),
    ],
)
def test_what_is_no_body_is_refused(content: bytes, message: str) -> None:
    """No JSON, and JSON that is no object, are told apart."""
    with pytest.raises(InvalidInput, match=message):
        parse_embeddings(content, max_inputs=3)


def test_number_of_inputs_is_limited() -> None:
    """As many as allowed are taken; one more, and none, are refused in the documented words."""
    assert parse(model=MODEL, input=["a"] * 3).input == ["a"] * 3
    assert "should not be larger than 3." in refusal(model=MODEL, input=["a"] * 4).message
    assert "empty list" in refusal(model=MODEL, input=[]).message


def test_refusal_of_many_wrong_inputs_is_short() -> None:
    """A million wrong inputs do not become a million complaints."""
    content = b'{"model":"m","input":[' + b"null," * 1_000_000 + b"1]}"
    with pytest.raises(InvalidInput) as caught:
        parse_embeddings(content, max_inputs=3)
    assert len(caught.value.message) < 500
    assert len(str(caught.value.__cause__)) < 1_000


@given(vectors=matrices)
@example(vectors=np.array([[0.1, -0.0, 1e-40]], dtype=np.float32))
def test_both_encodings_carry_the_same_numbers(vectors: NDArray[np.float32]) -> None:
    """Numbers and base64 both decode to exactly the vectors that were computed."""
    floats, packed = render(vectors, "float"), render(vectors, "base64")
    for row, as_floats, as_base64 in zip(vectors, floats["data"], packed["data"], strict=True):
        decoded = np.frombuffer(base64.b64decode(as_base64["embedding"], validate=True), "<f4")
        np.testing.assert_array_equal(decoded, row)
        np.testing.assert_array_equal(np.array(as_floats["embedding"], np.float32), row)


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("extra_rows", [-1, 0, 1])
def test_pieces_make_one_answer(encoding: str, extra_rows: int) -> None:
    """Rows keep their order and their index across pieces, at and around a piece's size."""
    dimension = 64
    rows = VALUES_PER_PIECE[encoding] // dimension + extra_rows
    vectors = np.arange(rows * dimension, dtype=np.float32).reshape(rows, dimension)
    answer = EmbeddingsAnswer.model_validate(render(vectors, encoding))
    assert [item.index for item in answer.data] == list(range(rows))
    for row, item in zip(vectors, answer.data, strict=True):
        value = item.embedding
        found = np.frombuffer(base64.b64decode(value), "<f4") if isinstance(value, str) else value
        np.testing.assert_array_equal(found, row)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_no_piece_is_large(encoding: str) -> None:
    """A large answer comes in pieces bounded by their numbers, not by the request."""
    vectors = np.full((512, 2048), 0.123456, dtype=np.float32)
    body = EmbeddingsBody(model=MODEL, input="a", encoding_format=encoding)
    pieces = list(render_embeddings(Embedded(vectors, [], []), body=body, request_id="r"))
    assert max(len(piece) for piece in pieces) <= VALUES_PER_PIECE[encoding] * 10
    assert len(pieces) >= vectors.size / VALUES_PER_PIECE[encoding]


def test_layout_of_the_vectors_in_memory_does_not_matter() -> None:
    """Transposed, reversed or wider numbers give the same answer as plain ones."""
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    for same in (np.asfortranarray(plain), plain[::-1].copy()[::-1], plain.astype(">f4")):
        for encoding in ("float", "base64"):
            assert render(same, encoding) == render(plain, encoding)


def test_answer_counts_tokens_and_reports_cuts() -> None:
    """Usage is the sum over the inputs; a cut is reported, and only a cut."""
    vectors = np.ones((2, 3), dtype=np.float32)
    whole = render(vectors, "float", token_counts=[3, 4])
    assert whole["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert (whole["object"], whole["model"], whole["id"]) == ("list", MODEL, "id-1")
    assert "milvane" not in whole
    assert render(vectors, "float", cut_inputs=[1])["milvane"] == {"cut_inputs": [1]}


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_card_says_which_weights_serve_a_model(model: Model) -> None:
    """Nobody needs to guess what computes the vectors."""
    card = model_card(model, SERVED_BY.get(model.name))
    assert card.id == model.name
    assert card.milvane.weights == SERVED_BY.get(model.name)
    assert card.milvane.weights in {*WEIGHTS, PICTURE_WEIGHTS}
    assert card.milvane.default_dimension == model.default_dimension
