"""Texts far above a limit cost no more than ones just above it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from milvane.domain.models import Purpose
from milvane.serving.shortening import CHARACTERS_PER_TOKEN, MARGIN_TOKENS, shorten
from milvane.testing.engines import HashingEngine

LIMIT = 200
BEGINNING = LIMIT * CHARACTERS_PER_TOKEN


class Tokenizer:
    """Tokenizes words, and counts the characters that it read."""

    def __init__(self) -> None:
        self.characters = 0

    async def __call__(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Tokenize."""
        self.characters += sum(map(len, texts))
        return await HashingEngine().tokenize(texts, purpose=Purpose.DOCUMENT)


@pytest.mark.parametrize("text", ["ab " * 400_000, "a" * 10 + " b" * 999_999])
async def test_text_far_above_the_limit_is_cut_far_behind_it(text: str) -> None:
    """Its first tokens stay, it is still too long, and most of it was never looked at."""
    tokenizer = Tokenizer()
    texts = ["short", text, "also short"]
    shortened = await shorten(texts, LIMIT, tokenizer)
    assert (shortened[0], shortened[2]) == ("short", "also short")
    whole, cut = await Tokenizer()([text, shortened[1]])
    assert len(cut) > LIMIT
    np.testing.assert_array_equal(whole[:LIMIT], cut[:LIMIT])
    assert tokenizer.characters == BEGINNING


@pytest.mark.parametrize(
    "text",
    [
        "ab " * (BEGINNING // 2),  # not twice the beginning
        " " * (9 * BEGINNING) + "end",  # few tokens
        "x" * (9 * BEGINNING) + " end",  # one word
        "abcd " * (LIMIT + MARGIN_TOKENS) + " " * (9 * BEGINNING),  # just not certain
    ],
    ids=["not far above", "spaces", "one word", "not certain"],
)
async def test_text_that_may_be_short_enough_is_left_whole(text: str) -> None:
    """Characters alone say nothing about tokens."""
    assert await shorten([text], LIMIT, Tokenizer()) == [text]
