"""
Contents: what is embedded, be it a text, an image, a video, or several of them as one.

A content says where its images and videos are to be had; what they are is known only once somebody
has looked: see `MediaFacts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from milvane.domain.models import Modality, Purpose


@dataclass(frozen=True, slots=True)
class MediaPart:
    """An image or a video that the caller points at."""

    source: str
    """An ``http(s)://`` address, a ``data:`` URI, or the URI of an object in a store we know."""
    modality: Modality | None = None
    """What the caller says it is; none to go by its bytes."""

    def __repr__(self) -> str:
        """Leave out the source: signed addresses and data are nobody's to read in a log."""
        return f"MediaPart(modality={self.modality})"


Part: TypeAlias = str | MediaPart
"""A text, or media."""


@dataclass(frozen=True, slots=True)
class Content:
    """What becomes one vector: one part, or several that are fused; never empty."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What somebody found who looked at the bytes of an image or a video, without decoding all."""

    digest: bytes
    """SHA-256 of the bytes: equal media have equal digests, wherever they came from."""
    modality: Modality
    format: str
    """As Pillow or FFmpeg call it, in lower case: ``jpeg``, ``png``, ``mp4``."""
    size_bytes: int
    width: int
    """In pixels, turned as it is meant to be seen."""
    height: int
    frames: int = 1
    """Of a video, as it says itself; 1 for an image."""
    duration_s: float = 0.0
    """Of a video."""

    @property
    def fps(self) -> float:
        """Frames per second of a video; 0 for an image."""
        return self.frames / self.duration_s if self.duration_s > 0 else 0.0


SeenPart: TypeAlias = str | MediaFacts
"""A part of which all is known that decides on its tokens."""


@dataclass(frozen=True, slots=True)
class ContentTokens:
    """What a content counts as in usage."""

    text: int = 0
    """Tokens of its texts, the words that the model adds included."""
    image: int = 0
    video: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.text + self.image + self.video


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller may ask for beside the contents themselves, where the model lets them."""

    purpose: Purpose = Purpose.DOCUMENT
    instruction: str | None = None
    fps: float | None = None
    """Frames per second of a video that are looked at; the model's own if none."""
    max_frames: int | None = None
    """Of a video; the model's own if none."""
    max_picture_tokens: int | None = None
    """How closely each image is looked at; as the model does if none."""
