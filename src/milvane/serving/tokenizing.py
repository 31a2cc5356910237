"""What contents count as, and the texts among them cut where they are too long and may be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from milvane.domain.contents import SeenPart
from milvane.domain.errors import InputTooLong, ServiceError
from milvane.domain.models import Model
from milvane.serving.ports import ContentEngine, TokenizedContent, Wishes
from milvane.serving.shortening import shorten


@dataclass(frozen=True, slots=True)
class Counted:
    """Contents as an engine takes them, by their positions in a request."""

    contents: dict[int, TokenizedContent] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    """Positions of those whose texts were cut, ascending."""
    failures: dict[int, ServiceError] = field(default_factory=dict)
    """Those that are too long, and may not be cut."""


async def tokenize_contents(
    engine: ContentEngine,
    model: Model,
    contents: Mapping[int, Sequence[SeenPart]],
    wishes: Wishes,
    *,
    may_cut: bool,
    goes_on: bool,
) -> Counted:
    """
    Have contents tokenized. Only the tokens of texts are held to the model's limit.

    Args:
        engine: Whose tokens count.

        model: Whose limit holds.

        contents: By their positions in a request.

        wishes: What the caller asks for beside them.

        may_cut: Whether texts above the limit are cut, or refused.

        goes_on: Whether refused ones are left out; else the first ends it all.

    Raises:
        InputTooLong: If texts have too many tokens.
    """
    counted, limit = Counted(), model.max_input_tokens
    shortened = await _shorten(engine, list(contents.values()), limit, wishes)
    found = await engine.tokenize(shortened, wishes) if shortened else []
    for index, parts, content in zip(contents, shortened, found, strict=True):
        if content.tokens.text <= limit:
            counted.contents[index] = content
            continue
        fitting = await _cut(engine, parts, content, limit, wishes) if may_cut else None
        if fitting is not None:
            counted.contents[index] = fitting
            counted.cut.append(index)
            continue
        refusal = InputTooLong(
            index=index, tokens=content.tokens.text, max_tokens=limit, model=model.name
        )
        if not goes_on:
            raise refusal
        counted.failures[index] = refusal
    return counted


async def _shorten(
    engine: ContentEngine, contents: Sequence[Sequence[SeenPart]], limit: int, wishes: Wishes
) -> list[list[SeenPart]]:
    """Leave out, of enormous texts, what is certainly far behind the limit."""

    async def measure(texts: Sequence[str]) -> list[NDArray[np.int32]]:
        found = await engine.tokenize([[text] for text in texts], wishes)
        return [np.empty(each.tokens.text, np.int32) for each in found]

    texts = [part for parts in contents for part in parts if isinstance(part, str)]
    rest = iter(await shorten(texts, limit, measure))
    return [[next(rest) if isinstance(part, str) else part for part in parts] for parts in contents]


async def _cut(
    engine: ContentEngine,
    parts: Sequence[SeenPart],
    content: TokenizedContent,
    limit: int,
    wishes: Wishes,
) -> TokenizedContent | None:
    """Cut the longest text until all fit; none if the words of the model alone are too many."""
    left = list(parts)
    while content.tokens.text > limit:
        lengths = [len(part) if isinstance(part, str) else 0 for part in left]
        longest = int(np.argmax(lengths))
        text = left[longest]
        if not isinstance(text, str) or len(text) <= 1:
            return None
        # Tokens per character hardly change within a text: two or three steps are enough.
        kept = min(len(text) - 1, int(len(text) * limit / content.tokens.text) + 1)
        left[longest] = text[:kept]
        (content,) = await engine.tokenize([left], wishes)
    return content
