"""
Texts far above a model's limit: only their beginnings are tokenized.

Ten megabytes take a tokenizer five seconds, to find out what the first hundred thousand characters
have told already.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

CHARACTERS_PER_TOKEN = 16
"""Of a beginning that is tokenized first; ordinary texts have 1 to 5."""

MARGIN_TOKENS = 512
"""
Tokens that a beginning must have above the limit. The cut may fall into a word, whose own tokens
then differ; a word has fewer than these, or counts as one.
"""

Tokenize = Callable[[Sequence[str]], Awaitable[list[NDArray[np.int32]]]]


async def shorten(texts: Sequence[str], max_tokens: int, tokenize: Tokenize) -> list[str]:
    """
    Cut texts that have certainly too many tokens, far behind the last one that counts.

    Args:
        texts: Any strings.

        max_tokens: The model's limit.

        tokenize: Turns texts into ids.

    Returns:
        The texts in order. One that was cut begins with the same `max_tokens` ids as before, and
        has more than these.
    """
    shortened = list(texts)
    characters = max_tokens * CHARACTERS_PER_TOKEN
    long = [place for place, text in enumerate(texts) if len(text) > 2 * characters]
    for place in long:
        beginning = texts[place][:characters]
        (ids,) = await tokenize([beginning])
        if len(ids) > max_tokens + MARGIN_TOKENS:
            shortened[place] = beginning
    return shortened
