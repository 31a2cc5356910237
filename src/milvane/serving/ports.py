"""What serving asks of those who compute vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvane.domain.callers import ANYONE
from milvane.domain.contents import ContentTokens, MediaFacts, MediaPart, SeenPart
from milvane.domain.contents import Wishes as Wishes
from milvane.domain.models import Lane, Modality, Purpose
from milvane.domain.pictures import Seen, Viewing
from milvane.domain.providers import ProviderFunction, Spending
from milvane.domain.vectors import SparseVector

FieldVectors: TypeAlias = NDArray[np.float32] | NDArray[np.int8]
"""Vectors of the kind that a field holds, shape ``(texts, dimension)``."""


class TextEngine(Protocol):
    """One set of weights, loaded and running."""

    @property
    def fingerprint(self) -> str:
        """Equal for two engines only if they give the same vectors, up to rounding."""

    @property
    def space(self) -> str:
        """Equal for two engines whose vectors may be compared, whatever precision they run in."""

    @property
    def width(self) -> int:
        """
        Components that a vector really has.

        Larger dimensions are filled up with zeros, smaller ones cut; both scaled to length 1.
        """

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes the vectors of texts of this purpose."""

    def adds_words(self, purpose: Purpose) -> bool:
        """Say whether words of a prompt become part of texts of this purpose."""

    async def tokenize(
        self, texts: Sequence[str], *, purpose: Purpose | None, instruction: str | None = None
    ) -> list[NDArray[np.int32]]:
        """
        Turn texts into token ids.

        Args:
            texts: Any strings.

            purpose: Which side of a comparison the texts are on; for weights that are told so in
                words, those words become part of each text. None for the texts alone, which is
                what their terms are counted from.

            instruction: What the comparison is for, in the caller's words, instead of the usual
                ones; weights that take none ignore it.

        Returns:
            For each text, in order, its ids without special tokens; never cut. The length of one
            is what usage counts.
        """

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
        Embed tokenized texts, each as a whole whatever its length.

        Args:
            token_ids: As `tokenize` returns them, or cut.

            dimension: Width of the result; any from 1 up.

            lane: Who waits.

            tenant: Whose work it is; those of one lane share it evenly.

            time_left_s: Until nobody waits any more; none if somebody always does.

        Returns:
            Shape ``(texts, dimension)``, rows of length 1 in the order given. A row does not
            depend on what else is in the request (beyond the tolerance of the precision).

        Raises:
            Overloaded: If the queue is full; nothing was computed.
            DeadlineExceeded: If the time is over first, or is certain to be.
        """


class TermEngine(Protocol):
    """An engine whose network has a learned head for sparse vectors."""

    async def embed_terms(
        self,
        token_ids: Sequence[NDArray[np.int32]],
        *,
        dimension: int,
        lane: Lane,
        tenant: str = ANYONE.tenant,
        time_left_s: float | None = None,
    ) -> tuple[NDArray[np.float32], list[SparseVector]]:
        """
        Embed tokenized texts and weigh their terms, in one pass.

        Args:
            token_ids: As the engine's `tokenize` returns them, or cut.

            dimension: Width of the dense result; any from 1 up.

            lane: Who waits.

            tenant: Whose work it is.

            time_left_s: Until nobody waits any more; none if somebody always does.

        Returns:
            As `TextEngine.embed`, and for each text its weighted terms.

        Raises:
            Overloaded: If the queue is full; nothing was computed.
            DeadlineExceeded: If the time is over first, or is certain to be.
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


class ContentEngine(Protocol):
    """
    One set of weights that takes images too, loaded and running.

    Work goes in two steps: `tokenize` says what contents cost from sizes alone, nothing being
    decoded; `embed` takes one content whose pixels are there. Contents of many callers meet in its
    queue, so that decoding the next ones goes on while the network runs.
    """

    @property
    def fingerprint(self) -> str:
        """Equal for two engines only if they give the same vectors, up to rounding."""

    @property
    def space(self) -> str:
        """Equal for two engines whose vectors may be compared, whatever precision they run in."""

    @property
    def width(self) -> int:
        """Components that a vector really has; other dimensions as for `TextEngine`."""

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it takes."""

    def view(self, wishes: Wishes) -> Viewing:
        """Say how it wants to see images and videos; pure."""

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes the vectors of contents of this purpose."""

    async def tokenize(
        self, contents: Sequence[Sequence[SeenPart]], wishes: Wishes
    ) -> Sequence[TokenizedContent]:
        """
        Prepare contents for the network, but for their pixels.

        Args:
            contents: The parts of each; several parts are fused into one vector.

            wishes: What the caller asks for beside them.

        Returns:
            For each content, in order, what `embed` takes; never cut.
        """

    async def embed(
        self,
        content: Any,
        seen: Sequence[Seen],
        *,
        dimension: int,
        lane: Lane,
        tenant: str = ANYONE.tenant,
        time_left_s: float | None = None,
    ) -> NDArray[np.float32]:
        """
        Embed one content.

        Args:
            content: A `TokenizedContent`, as this engine's `tokenize` made it.

            seen: The pixels of its images and videos, in the order of its parts.

            dimension: Width of the result; any from 1 up.

            lane: Who waits.

            tenant: Whose work it is; those of one lane share it evenly.

            time_left_s: Until nobody waits any more; none if somebody always does.

        Returns:
            Shape ``(dimension,)``, of length 1.

        Raises:
            Overloaded: If the queue is full; nothing was computed.
            DeadlineExceeded: If the time is over first, or is certain to be.
        """


class TokenizedContent(Protocol):
    """A content as its engine takes it; what else is in it only the engine knows."""

    @property
    def tokens(self) -> ContentTokens:
        """What it counts as in usage."""

    @property
    def key(self) -> bytes:
        """Equal for two contents of one engine only if their vectors are equal."""


class FetchedMedia(Protocol):
    """An image or a video whose bytes are here, kept at least until it is closed."""

    @property
    def facts(self) -> MediaFacts:
        """What it is."""

    def close(self) -> None:
        """Let go of the bytes; may be called twice."""


class MediaReader(Protocol):
    """Gets images and videos from where callers point, within rules that keep the service safe."""

    async def fetch(
        self,
        part: MediaPart,
        *,
        tenant: str = ANYONE.tenant,
        max_bytes: int | None = None,
        time_left_s: float | None = None,
    ) -> FetchedMedia:
        """
        Get the bytes of an image or a video, and look what it is; nothing is decoded yet.

        Args:
            part: Where it is, and what it should be.

            tenant: For whom: what an address held is remembered for each tenant apart.

            max_bytes: That the model takes; what the operator allows holds as well.

            time_left_s: Until the caller's deadline; what the operator allows holds as well.

        Raises:
            MediaRejected: If it may not or cannot be had, is no image or video of a known format,
                or is not what the part says. The message does not tell what answered.
            Overloaded: If too many are being fetched.
        """

    async def see(self, media: Any, viewing: Viewing, *, time_left_s: float | None = None) -> Seen:
        """
        Decode an image or a video in the size and at the times that a network wants.

        Args:
            media: As this reader's `fetch` gave it.

            viewing: How the network wants to see it.

            time_left_s: Until the caller's deadline.

        Returns:
            Of a video, exactly the frames that `Sampling.choose` names for its facts: where it has
            fewer than it says, the last one stands for those that are missing.

        Raises:
            MediaRejected: If it is damaged, or takes more memory or time than allowed.
            Overloaded: If too many are being decoded.
        """


class RemoteProviders(Protocol):
    """Services elsewhere that compute vectors for embedding functions."""

    @property
    def names(self) -> Sequence[str]:
        """Who can be called, by the name that functions use."""

    def check(self, function: ProviderFunction) -> None:
        """
        Check a function's parameters; nothing is called.

        Args:
            function: Its provider is one of `names`.

        Raises:
            InvalidInput: If one is wrong.
        """

    def source_of(self, function: ProviderFunction, purpose: Purpose) -> str:
        """
        Name what computes a function's vectors: equal only for what gives a text equal vectors.

        Args:
            function: Its provider is one of `names`.

            purpose: Which side of a comparison texts are on.

        Raises:
            InvalidInput: If the function cannot be called as it is.
        """

    async def embed(
        self,
        function: ProviderFunction,
        texts: Sequence[str],
        *,
        purpose: Purpose,
        time_left_s: float | None = None,
        is_fresh: bool = False,
        spending: Spending | None = None,
    ) -> FieldVectors:
        """
        Compute the vectors of texts, however many; being cancelled ends the call.

        Args:
            function: Its provider is one of `names`.

            texts: At least one, each as it is to be embedded.

            purpose: Which side of a comparison the texts are on.

            time_left_s: Until the caller's deadline.

            is_fresh: Ask the provider, whatever is known already.

            spending: What the provider says that it used is added to it.

        Returns:
            One row for each text, in order.

        Raises:
            InvalidInput: If the function cannot be called as it is.
            ProviderUnavailable: If the provider does not answer.
            ProviderRefused: If it refuses, or answers with something else.
        """
