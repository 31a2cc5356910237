"""Fake engines: content in, vectors out, without a model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from milvane.domain.callers import ANYONE, Caller
from milvane.domain.errors import DeadlineExceeded
from milvane.domain.models import Lane, Purpose
from milvane.domain.vectors import SparseVector
from milvane.serving.callers import current_caller

_PIECE = re.compile(r"\s*\S+|\s+")
"""A word with the space before it; pieces put together are the text again."""


WIDTH = 2048
"""Components of a vector; larger dimensions are filled up with zeros."""


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """One call that reached `HashingEngine.embed`."""

    texts: int
    dimension: int
    lane: Lane


class HashingEngine:
    """
    Embeds by hashing: equal texts get equal vectors, different texts different ones.

    Vectors of different texts are nearly orthogonal whatever the texts mean, and the vector of a
    text begins alike in every dimension, up to its length.
    """

    def __init__(self, *, fingerprint: str = "hashing", is_told: bool = False) -> None:
        """
        Prepare an engine.

        Args:
            fingerprint: Tells it from others.

            is_told: It puts the purpose, or the instruction, before each text, as some weights do.
        """
        self.fingerprint = fingerprint
        """See the port."""
        self.space = fingerprint
        """See the port."""
        self.width = WIDTH
        """See the port."""
        self._is_told = is_told
        self.embedded_texts = 0
        """Texts embedded so far: what a refused request must leave as it was."""
        self.calls: list[EmbedCall] = []
        """Calls of `embed`, oldest first."""
        self.callers: list[Caller] = []
        """For whom each of them was."""
        self.tenants: list[str] = []
        """Whose each of them was said to be."""
        self.times_left_s: list[float | None] = []
        """How long each of them might take."""

    def takes_instruction(self, purpose: Purpose) -> bool:  # noqa: ARG002 - the port's signature
        """Say whether an instruction changes the vectors."""
        return self._is_told

    def adds_words(self, purpose: Purpose) -> bool:  # noqa: ARG002 - the port's signature
        """Say whether the purpose is put before each text."""
        return self._is_told

    async def tokenize(
        self, texts: Sequence[str], *, purpose: Purpose | None, instruction: str | None = None
    ) -> list[NDArray[np.int32]]:
        """Turn each text into one id per word."""
        is_told = self._is_told and purpose is not None
        prompt = f"{instruction or (purpose and purpose.value)}: " if is_told else ""
        return [_token_ids(prompt + text) for text in texts]

    async def embed(
        self,
        token_ids: Sequence[NDArray[np.int32]],
        *,
        dimension: int,
        lane: Lane,
        tenant: str = ANYONE.tenant,
        time_left_s: float | None = None,
    ) -> NDArray[np.float32]:
        """
        Embed tokenized texts; returns shape ``(texts, dimension)``, rows of length 1.

        Raises:
            DeadlineExceeded: If no time is left.
        """
        if time_left_s is not None and time_left_s <= 0:
            raise DeadlineExceeded("the deadline passed")
        self.tenants.append(tenant)
        self.times_left_s.append(time_left_s)
        self.callers.append(current_caller())
        self.calls.append(EmbedCall(texts=len(token_ids), dimension=dimension, lane=lane))
        self.embedded_texts += len(token_ids)
        vectors = np.empty((len(token_ids), dimension), dtype=np.float32)
        for row, ids in enumerate(token_ids):
            vectors[row] = _direction(ids, dimension)
        return vectors


class CountingWeigher:
    """Weighs a term by how often it occurs, twice that in a query; a term is spelled by its id."""

    def weigh(self, token_ids: NDArray[np.int32], purpose: Purpose) -> SparseVector:
        """Count terms."""
        terms, counts = np.unique(token_ids, return_counts=True)
        factor = 2 if purpose is Purpose.QUERY else 1
        return SparseVector(terms.astype(np.uint32), (counts * factor).astype(np.float32))

    def token_texts(self, indexes: NDArray[np.uint32]) -> list[str]:
        """Spell each term as its number."""
        return [f"#{index}" for index in indexes.tolist()]


def _token_ids(text: str) -> NDArray[np.int32]:
    pieces = (piece.encode("utf-8", "surrogatepass") for piece in _PIECE.findall(text))
    digests = (_digest(piece, size_bytes=4) for piece in pieces)
    return np.fromiter((digest & 0x7FFF_FFFF for digest in digests), dtype=np.int32)


def _direction(ids: NDArray[np.int32], dimension: int) -> NDArray[np.float64]:
    seed = _digest(ids.tobytes(), size_bytes=16)
    vector = np.zeros(dimension)
    vector[:WIDTH] = np.random.default_rng(seed).standard_normal(min(dimension, WIDTH))
    direction: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return direction


def _digest(content: bytes, *, size_bytes: int) -> int:
    return int.from_bytes(blake2b(content, digest_size=size_bytes).digest(), "little")
