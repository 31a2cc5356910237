"""What reading media has come to since the start: times, bytes and refusals. Shown by `apis`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from milvane.domain.errors import ServiceError
from milvane.domain.models import Modality
from milvane.measures import Distribution
from milvane.media.policy import UNREACHABLE

UNREACHABLE_KIND = "unreachable"
"""Of refusals: nothing answers at an address, or nothing that may be asked."""
SOURCES = ("address", "object", "data", "other")
_SOURCE_OF = {
    "http": "address",
    "https": "address",
    "oss": "object",
    "s3": "object",
    "data": "data",
}


@dataclass(slots=True)
class MediaCounts:
    """Belongs to the thread of the event loop."""

    fetch_times_s: dict[str, Distribution] = field(
        default_factory=lambda: {source: Distribution() for source in SOURCES}
    )
    """Until an image or a video was here and looked at, by the kind of its source."""
    arrived: Counter[str] = field(default_factory=Counter)
    """Images and videos whose bytes came, by the same; of the others they were here."""
    arrived_bytes: Counter[str] = field(default_factory=Counter)
    decode_times_s: dict[Modality, Distribution] = field(
        default_factory=lambda: {each: Distribution() for each in (Modality.IMAGE, Modality.VIDEO)}
    )
    """Until it was decoded, its turn included."""
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By ``fetch`` or ``decode``, and why: the kind of the error, or `UNREACHABLE_KIND`."""

    def arrive(self, source: str, size_bytes: int) -> None:
        """Count bytes that came."""
        self.arrived[source] += 1
        self.arrived_bytes[source] += size_bytes

    @contextmanager
    def fetching(self, source: str) -> Iterator[None]:
        """Count what is fetched within it."""
        with self._counting("fetch", self.fetch_times_s[source]):
            yield

    @contextmanager
    def decoding(self, modality: Modality) -> Iterator[None]:
        """Count what is decoded within it."""
        with self._counting("decode", self.decode_times_s[modality]):
            yield

    @contextmanager
    def _counting(self, stage: str, times_s: Distribution) -> Iterator[None]:
        begun_s = time.monotonic()
        try:
            yield
        except ServiceError as error:
            is_unreachable = error.message == UNREACHABLE
            self.refusals[stage, UNREACHABLE_KIND if is_unreachable else error.kind.value] += 1
            raise
        times_s.add(time.monotonic() - begun_s)


def source_of(text: str) -> str:
    """Say what kind of source somebody named: one of `SOURCES`."""
    return _SOURCE_OF.get(text.strip().partition(":")[0].lower(), "other")
