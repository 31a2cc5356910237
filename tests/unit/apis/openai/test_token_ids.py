"""Inputs of the OpenAI dialect: texts, and token ids in their place."""

from __future__ import annotations

import json

import pytest

from milvane.apis.openai.token_ids import count_inputs, texts_of
from milvane.apis.openai.translate import parse_embeddings, to_request
from milvane.domain.errors import InvalidInput
from milvane.inference.token_ids import TokenTexts

VOCABULARY = TokenTexts([b"Hello", b" world", b"!", b"\xe2\x82", b"\xac"], {9: "<|endoftext|>"})


def refusal(inputs: object, vocabulary: TokenTexts | None = VOCABULARY) -> InvalidInput:
    """Send inputs that must be refused."""
    content = json.dumps({"model": "text-embedding-v4", "input": inputs}).encode()
    with pytest.raises(InvalidInput) as caught:
        to_request(parse_embeddings(content, max_inputs=3), vocabulary)
    return caught.value


@pytest.mark.parametrize(
    ("inputs", "texts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([], []),
        ([0, 1, 2], ["Hello world!"]),
        ([[0], [1, 2]], ["Hello", " world!"]),
        ([[3, 4]], ["€"]),
        ([[]], [""]),
        ([9, 0], ["<|endoftext|>Hello"]),
    ],
)
def test_inputs_are_the_texts_that_they_were_made_from(
    inputs: list[int] | list[list[int]], texts: list[str]
) -> None:
    """Token ids become the text whose tokens they are, a list of them one text."""
    assert texts_of(inputs, VOCABULARY) == texts
    assert count_inputs(inputs) == len(texts)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [([3], "\N{REPLACEMENT CHARACTER}"), ([4, 0], "\N{REPLACEMENT CHARACTER}Hello")],
)
def test_half_a_character_is_replaced(inputs: list[int], text: str) -> None:
    """Where a client cut a text within a character, the rest of it stays readable."""
    assert texts_of(inputs, VOCABULARY) == [text]


def test_unknown_token_id_is_refused_where_it_stands() -> None:
    """An id that the vocabulary does not have is named with its input."""
    error = refusal([[0], [1, 7]])
    assert (error.parameter, error.index) == ("input", 1)
    assert "input 1 has the token id 7" in error.message


@pytest.mark.parametrize("inputs", [[1, 2, 3], [[1, 2], [3]], [[]]])
def test_token_ids_without_vocabulary_are_refused_with_the_cure(inputs: list[int]) -> None:
    """Who sends token ids where nobody can read them learns what to run, and what to set."""
    error = refusal(inputs, None)
    assert "contents is neither str nor list of str" in error.message
    assert "milvane models pull cl100k" in error.message
    assert "check_embedding_ctx_length=False" in error.message
    assert error.parameter == "input"


@pytest.mark.parametrize(
    ("inputs", "index"),
    [
        (["a", 1], 1),
        (["a", [1]], 1),
        ([1, "a"], 1),
        ([1, -1], 1),
        ([1, 2.5], 1),
        ([1, True], 1),
        ([[1], "a"], 1),
        ([[1], 2], 1),
        ([[1], [2, "a"]], 1),
        ([[[1]]], 0),
        ([None], 0),
    ],
)
def test_mixed_inputs_are_refused_where_they_change(inputs: list[object], index: int) -> None:
    """All inputs have one form; the first that does not is named."""
    error = refusal(inputs)
    assert (error.parameter, error.index) == ("input", index)


def test_one_list_of_token_ids_is_one_input() -> None:
    """The number of inputs is limited, and not that of one input's tokens."""
    content = json.dumps({"model": "m", "input": [0] * 100}).encode()
    assert len(parse_embeddings(content, max_inputs=3).input) == 100
    assert "should not be larger than 3." in refusal([[0]] * 4).message
