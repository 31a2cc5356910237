"""What serving asks of those who compute vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from milvane.domain.models import Lane, Purpose
from milvane.domain.vectors import SparseVector


class TextEngine(Protocol):
    """One set of weights, loaded and running."""

    async def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """
        Turn texts into token ids.

        Returns:
            For each text, in order, its ids without special tokens; never cut. The length of one
            is what usage counts.
        """

    async def embed(
        self, token_ids: Sequence[NDArray[np.int32]], *, dimension: int, lane: Lane
    ) -> NDArray[np.float32]:
        """
        Embed tokenized texts, each as a whole whatever its length.

        Args:
            token_ids: As `tokenize` returns them, or cut.

            dimension: Width of the result; any from 1 up.

            lane: Who waits.

        Returns:
            Shape ``(texts, dimension)``, rows of length 1 in the order given. A row does not
            depend on what else is in the request (beyond the tolerance of the precision).

        Raises:
            Overloaded: If the queue is full; nothing was computed.
        """


class TermWeigher(Protocol):
    """Makes the sparse vectors of one set of weights, from the ids that its engine makes."""

    def weigh(self, token_ids: NDArray[np.int32], purpose: Purpose) -> SparseVector:
        """
        Turn a tokenized text into weighted terms; takes well under a millisecond.

        Args:
            token_ids: As the engine's `tokenize` returns them, or cut.

            purpose: Which side of a comparison the text is on.

        Returns:
            Without terms if the text has none, such as punctuation alone.
        """

    def token_texts(self, indexes: NDArray[np.uint32]) -> list[str]:
        """Say the terms of a vector in the tokenizer's spelling, in their order."""
