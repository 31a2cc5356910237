"""Inputs of the OpenAI dialect in each of their forms: texts, or token ids instead. Pure."""

from collections.abc import Sequence
from typing import TypeGuard, cast

from milvane.apis.openai.errors import ALGORITHM
from milvane.apis.ports import TokenTexts
from milvane.domain.errors import InvalidInput

Inputs = str | list[str] | list[int] | list[list[int]]

_NOT_TEXT = f"{ALGORITHM}Value error, contents is neither str nor list of str.: input.contents"


def count_inputs(inputs: Inputs) -> int:
    """Say how many texts are meant."""
    return 1 if isinstance(inputs, str) or _is_one_text(inputs) else len(inputs)


def texts_of(inputs: Inputs, vocabulary: TokenTexts | None) -> list[str]:
    """
    Write every input out as text.

    Args:
        inputs: As they came.

        vocabulary: What token ids mean; none if that is not known here.

    Raises:
        InvalidInput: If token ids are sent that nobody knows; the message says how to have them
            known, or which one it is.
    """
    if isinstance(inputs, str):
        return [inputs]
    if _are_texts(inputs):
        return inputs
    rows = [inputs] if _is_one_text(inputs) else cast("list[list[int]]", inputs)
    if vocabulary is None:
        raise InvalidInput(
            f"{_NOT_TEXT}: input 0 holds token ids, and the vocabulary cl100k is not here: have "
            "the operator run `milvane models pull cl100k` and start the server again, or send "
            "strings (langchain's OpenAIEmbeddings: check_embedding_ctx_length=False)",
            index=0,
            parameter="input",
        )
    return [_write_out(row, index, vocabulary) for index, row in enumerate(rows)]


def refusal_of(value: object) -> InvalidInput:
    """
    Say what is wrong with inputs that have none of the forms.

    Args:
        value: What stands in their place.
    """
    index = _first_wrong(value) if isinstance(value, list) else None
    found = "input" if index is None else f"input {index}"
    return InvalidInput(
        f"{_NOT_TEXT}: {found} is not a string, nor token ids like the others",
        index=index,
        parameter="input",
    )


def _write_out(row: list[int], index: int, vocabulary: TokenTexts) -> str:
    try:
        return vocabulary.join(row)
    except KeyError as error:
        raise InvalidInput(
            f"{_NOT_TEXT}: input {index} has the token id {str(error.args[0])[:20]}, which cl100k "
            "does not have",
            index=index,
            parameter="input",
        ) from error


def _is_one_text(inputs: Sequence[object]) -> TypeGuard[list[int]]:
    return bool(inputs) and isinstance(inputs[0], int)


def _are_texts(inputs: Sequence[object]) -> TypeGuard[list[str]]:
    return not inputs or isinstance(inputs[0], str)


def _first_wrong(values: list[object]) -> int | None:
    """Find the first item that is not of the form of those before it."""
    form = next((kind for kind in (str, int, list) if _has_form(values[0], kind)), None)
    if form is None:
        return 0
    return next((index for index, each in enumerate(values) if not _has_form(each, form)), None)


def _has_form(value: object, form: type) -> bool:
    if isinstance(value, list) and form is list:
        return all(type(token) is int and token >= 0 for token in value)
    return type(value) is form and (form is not int or value >= 0)  # type: ignore[operator]
