"""
Models: what a caller may ask for, whatever weights serve it.

A `Model` is a contract. It never changes when other weights are put behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType

ModelName = NewType("ModelName", str)


class Purpose(Enum):
    """Why a content is embedded: models that distinguish the two embed them differently."""

    DOCUMENT = "document"
    QUERY = "query"


class Lane(Enum):
    """Who waits for a result: a person (interactive), or a bulk load that others may overtake."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Output(Enum):
    """What a content becomes: a vector of meaning, weighted terms, or both in one request."""

    DENSE = "dense"
    SPARSE = "sparse"


DENSE_ONLY = frozenset({Output.DENSE})
SPARSE_ONLY = frozenset({Output.SPARSE})


class Platform(Enum):
    """Whose contract a model is: the two publish their models under different APIs."""

    MODEL_STUDIO = "model_studio"
    AI_SEARCH = "ai_search"


class Modality(Enum):
    """A kind of content that a model accepts."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class DimensionRange:
    """Every dimension from `smallest` to `largest`, both included."""

    smallest: int
    largest: int

    def __contains__(self, dimension: int) -> bool:
        return self.smallest <= dimension <= self.largest

    def __str__(self) -> str:
        return f"{self.smallest} to {self.largest}"


@dataclass(frozen=True, slots=True)
class DimensionList:
    """A few dimensions, and none between them."""

    values: tuple[int, ...]

    def __contains__(self, dimension: int) -> bool:
        return dimension in self.values

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What images and videos a model takes; what no contract says is left to the operator."""

    max_image_bytes: int | None = None
    max_video_bytes: int | None = None
    image_formats: frozenset[str] = frozenset()
    """As `MediaFacts` names them, kept to only where limits are strict; any if empty."""
    video_formats: frozenset[str] = frozenset()
    max_images: int | None = None
    """Of one request; kept to only where limits are strict."""
    max_videos: int | None = None

    def max_bytes(self, modality: Modality | None) -> int | None:
        """Say how large an image or a video may be; of one that is either, the larger limit."""
        limits = {Modality.IMAGE: self.max_image_bytes, Modality.VIDEO: self.max_video_bytes}
        if modality is not None:
            return limits.get(modality)
        known = [limit for limit in limits.values() if limit is not None]
        return max(known) if len(known) == len(limits) else None

    def formats(self, modality: Modality) -> frozenset[str]:
        """Say which formats are taken; any if there are none."""
        return self.video_formats if modality is Modality.VIDEO else self.image_formats


NO_MEDIA_LIMITS = MediaLimits()


@dataclass(frozen=True, slots=True)
class Model:
    """The contract of one model."""

    name: ModelName
    description: str
    dimensions: DimensionRange | DimensionList
    """Of dense vectors; none of a model that has only sparse ones."""
    default_dimension: int
    """0 for a model that has no dense vectors."""
    max_input_tokens: int
    """Tokens of one input above which it is refused (or cut, where the operator allows it)."""
    max_batch_inputs: int
    """Inputs of one request in the published contract; kept to only where limits are strict."""
    modalities: frozenset[Modality] = frozenset({Modality.TEXT})
    outputs: frozenset[Output] = DENSE_ONLY
    platform: Platform = Platform.MODEL_STUDIO
    is_asynchronous: bool = False
    """Takes files of texts as tasks in the background, and no texts in a request."""
    max_requests_per_s: int | None = None
    """Requests per second in the published contract; none where none is published."""
    media: MediaLimits = NO_MEDIA_LIMITS
    """Of a model that takes images."""
    fuses: bool = True
    """A text and media in one content become one vector; not a model of either."""

    def __post_init__(self) -> None:
        has_dense = Output.DENSE in self.outputs
        if has_dense and self.default_dimension not in self.dimensions:
            raise ValueError(f"{self.name}: default dimension is not among the offered ones")

    @property
    def is_text_only(self) -> bool:
        """It takes nothing but text."""
        return self.modalities == frozenset({Modality.TEXT})
