"""What is asked for and what comes back when contents are embedded, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvane.domain.catalogue import WeightsName
from milvane.domain.contents import Content, ContentTokens, MediaFacts, MediaPart
from milvane.domain.errors import ServiceError
from milvane.domain.models import Lane, Modality, ModelName
from milvane.domain.pictures import Viewing
from milvane.serving.accounting import Account
from milvane.serving.caching.cache import VectorCache
from milvane.serving.fetching import Fetched
from milvane.serving.ports import ContentEngine, FetchedMedia, TokenizedContent, Wishes
from milvane.serving.waiting import naming

NO_TOKENS = ContentTokens()
NO_MEDIA: Sequence[MediaFacts] = ()


Outcome: TypeAlias = tuple[NDArray[np.float32], bool]
"""The vector of a content, and whether it was known."""


@dataclass(frozen=True, slots=True)
class ContentRequest:
    """What a front door asks for."""

    model: str
    contents: Sequence[Content]
    dimension: int | None = None
    """The model's default if none."""
    wishes: Wishes = field(default_factory=Wishes)
    lane: Lane = Lane.BULK
    cut_long_inputs: bool | None = None
    """Cut texts above the model's limit, or refuse them; as the operator set it if none."""
    is_counted: bool = True
    """Whether `serving.max_inputs` holds; not where the size of a message is the limit."""
    keeps_contract: bool = False
    """Take only those formats that the model's contract names."""
    goes_on: bool = False
    """Leave out contents that cannot be embedded, and tell which; else the first ends it all."""


@dataclass(frozen=True, slots=True)
class EmbeddedContents:
    """What it gets back."""

    vectors: NDArray[np.float32]
    """Shape ``(contents, dimension)``, rows of length 1 in order; zeros where one failed."""
    tokens: Sequence[ContentTokens]
    """Of each content, as usage counts them; none of one that failed."""
    media: Sequence[Sequence[MediaFacts]]
    """The images and videos of each content."""
    weights: WeightsName
    """What computed them."""
    cut_inputs: Sequence[int] = ()
    """Positions of the contents whose texts were cut to the model's limit, ascending."""
    cached_tokens: int = 0
    """Tokens of contents whose vectors were known, or computed for another request just then."""
    ignored_instruction: bool = False
    """There was an instruction, and the weights take none for this purpose."""
    failures: Mapping[int, ServiceError] = field(default_factory=dict)
    """Why contents could not be embedded, by their positions; empty unless the request goes on."""

    @property
    def total(self) -> ContentTokens:
        """Tokens of all contents together."""
        return ContentTokens(
            text=sum(each.text for each in self.tokens),
            image=sum(each.image for each in self.tokens),
            video=sum(each.video for each in self.tokens),
        )

    @property
    def images(self) -> int:
        """How many images there are in all contents."""
        return _count(self.media, Modality.IMAGE)

    @property
    def videos(self) -> int:
        """How many videos there are in all contents."""
        return _count(self.media, Modality.VIDEO)

    @property
    def duration_s(self) -> float:
        """Of all videos together."""
        return sum(facts.duration_s for each in self.media for facts in each)


def _count(media: Sequence[Sequence[MediaFacts]], modality: Modality) -> int:
    return sum(facts.modality is modality for each in media for facts in each)


@dataclass(frozen=True, slots=True)
class PreparedContents:
    """A request that was found good: what remains is to compute it, or to close it."""

    model: ModelName
    weights: WeightsName
    engine: ContentEngine
    viewing: Viewing
    dimension: int
    lane: Lane
    contents: Sequence[Content]
    """As they were asked for."""
    tokenized: Sequence[TokenizedContent]
    """Of each distinct content."""
    first: Sequence[int]
    """For each distinct content, the position of the first of the request that is equal to it."""
    inverse: Mapping[int, int]
    """For each content that is not left out, by position, its equal among the distinct ones."""
    fetched: Fetched
    cut: Sequence[int] = ()
    """Positions of the contents that were cut."""
    ignored_instruction: bool = False
    goes_on: bool = False
    failures: Mapping[int, ServiceError] = field(default_factory=dict)
    """Why contents are left out, by position."""
    cache: VectorCache | None = None

    @property
    def total_tokens(self) -> int:
        """Tokens of all contents that are not left out."""
        return sum(self.tokenized[place].tokens.total for place in self.inverse.values())

    def media_of(self, place: int) -> list[FetchedMedia]:
        """List the images and videos of a distinct content, in order."""
        parts = self.contents[self.first[place]].parts
        return [self.fetched.media[part] for part in parts if isinstance(part, MediaPart)]

    def naming(self, place: int, media: int) -> AbstractContextManager[None]:
        """Say, of a failure in the context, in which image or video of a distinct content it is."""
        if self.goes_on:
            return nullcontext()
        parts = self.contents[self.first[place]].parts
        positions = [each for each, part in enumerate(parts) if isinstance(part, MediaPart)]
        return naming(self.first[place], positions[media] if len(parts) > 1 else None)

    def close(self) -> None:
        """Let go of the media; may be called twice."""
        self.fetched.close()


def pixel_bytes(viewing: Viewing, facts: MediaFacts) -> int:
    """Say how much memory an image or a video takes in the size that a network wants."""
    frames = 1
    if facts.modality is Modality.VIDEO and viewing.clip is not None:
        frames = len(viewing.clip.choose(max(facts.frames, 1), facts.fps))
        width, height = viewing.clip.size_of(facts.width, facts.height, frames)
    else:
        width, height = viewing.picture.size_of(facts.width, facts.height)
    return frames * width * height * 3


def collect(
    prepared: PreparedContents, outcomes: Sequence[Outcome | ServiceError]
) -> EmbeddedContents:
    """Put the vectors in the order of the request."""
    total = len(prepared.contents)
    failures = dict(prepared.failures)
    vectors = np.zeros((total, prepared.dimension), np.float32)
    tokens, media = [NO_TOKENS] * total, [NO_MEDIA] * total
    cached_tokens = 0
    for index, place in prepared.inverse.items():
        outcome = outcomes[place]
        if isinstance(outcome, ServiceError):
            failures[index] = outcome
            continue
        vectors[index], was_kept = outcome
        tokens[index] = prepared.tokenized[place].tokens
        media[index] = tuple(each.facts for each in prepared.media_of(place))
        cached_tokens += tokens[index].total if was_kept else 0
    return EmbeddedContents(
        vectors=vectors,
        tokens=tokens,
        media=media,
        weights=prepared.weights,
        cut_inputs=[index for index in prepared.cut if index not in failures],
        cached_tokens=cached_tokens,
        ignored_instruction=prepared.ignored_instruction,
        failures=failures,
    )


def enter(account: Account, embedded: EmbeddedContents) -> None:
    """Write down what was really used: what was left out costs nothing."""
    account.inputs = len(embedded.tokens) - len(embedded.failures)
    account.tokens = embedded.total.total
    account.cached_tokens = embedded.cached_tokens
    account.images = embedded.images
