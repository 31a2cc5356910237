"""The images and videos of one request: all fetched beside each other, each source once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from milvane.domain.contents import Content, MediaFacts, MediaPart, SeenPart
from milvane.domain.errors import MediaRejected, MediaTooLarge, ModelNotServed, ServiceError
from milvane.domain.models import Modality, Model
from milvane.serving.callers import current_caller
from milvane.serving.ports import FetchedMedia, MediaReader
from milvane.serving.settings import ServingSettings
from milvane.serving.waiting import every_outcome, naming

_PLURAL: Mapping[Modality, str] = {Modality.IMAGE: "images", Modality.VIDEO: "videos"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """The media of a request, held until they are closed."""

    media: dict[MediaPart, FetchedMedia] = field(default_factory=dict)
    failures: dict[int, ServiceError] = field(default_factory=dict)
    """Why a content's media are not there, by its position in the request."""

    def parts_of(self, content: Content) -> tuple[SeenPart, ...]:
        """Put what was found in the place of where it was."""
        return tuple(
            part if isinstance(part, str) else self.media[part].facts for part in content.parts
        )

    def close(self) -> None:
        """Let go of all of them; may be called twice."""
        for each in self.media.values():
            each.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is fetched for whom, and which rules hold."""

    contents: Sequence[Content]
    model: Model
    modalities: frozenset[Modality]
    """What the weights take."""
    keeps_contract: bool
    """Whether only the formats of the model's contract are taken."""
    goes_on: bool
    """Whether contents that cannot be had are left out."""
    time_left_s: float | None

    def sources(self) -> dict[MediaPart, tuple[int, int | None]]:
        """
        List what there is to fetch, with the first place that has it.

        A place is the position of a content, and within one of several parts that of the part.
        """
        found: dict[MediaPart, tuple[int, int | None]] = {}
        for index, content in enumerate(self.contents):
            for place, part in enumerate(content.parts):
                if isinstance(part, MediaPart):
                    found.setdefault(part, (index, place if len(content.parts) > 1 else None))
        return found


class Fetcher:
    """Has the media of requests fetched, of none of them all at once."""

    def __init__(self, reader: MediaReader | None, settings: ServingSettings) -> None:
        """
        Prepare with nothing under way.

        Args:
            reader: Who gets them; none where nothing is fetched.

            settings: How many are fetched at once.
        """
        self._reader = reader
        self._per_request = settings.max_fetches_per_request

    async def fetch(self, order: Order) -> Fetched:
        """
        Fetch all media of a request; each has its own time, and one that is slow delays no other.

        Returns:
            All of them, for the caller to close.

        Raises:
            MediaRejected: If one cannot be had, or is none that the model takes; it says which.
            Overloaded: If too many are being fetched.
        """
        sources, fetched = order.sources(), Fetched()
        if not sources:
            return fetched
        if self._reader is None:
            raise ModelNotServed(
                f"{order.model.name} has only text served here: nothing is fetched"
            )
        begun_s, places = time.monotonic(), asyncio.Semaphore(self._per_request)

        async def fetch_one(part: MediaPart, place: tuple[int, int | None]) -> None:
            with nullcontext() if order.goes_on else naming(*place):
                async with places:
                    await self._fetch_one(part, order, fetched, time.monotonic() - begun_s)

        try:
            work = [fetch_one(part, place) for part, place in sources.items()]
            outcomes = await every_outcome(work, goes_on=order.goes_on)
        except BaseException:
            fetched.close()
            raise
        failed = {
            part: outcome
            for part, outcome in zip(sources, outcomes, strict=True)
            if isinstance(outcome, ServiceError)
        }
        for index, content in enumerate(order.contents):
            for part in content.parts:
                if isinstance(part, MediaPart) and part in failed:
                    fetched.failures.setdefault(index, failed[part])
        return fetched

    async def _fetch_one(
        self, part: MediaPart, order: Order, fetched: Fetched, elapsed_s: float
    ) -> None:
        assert self._reader is not None  # noqa: S101 - `fetch` has looked
        left_s = None if order.time_left_s is None else order.time_left_s - elapsed_s
        media = await self._reader.fetch(
            part,
            tenant=current_caller().tenant,
            max_bytes=order.model.media.max_bytes(part.modality),
            time_left_s=left_s,
        )
        fetched.media[part] = media
        check_taken(media.facts, order)


def check_taken(facts: MediaFacts, order: Order) -> None:
    """
    Refuse media that the model or its weights do not take.

    Raises:
        MediaRejected: If it is of those.
    """
    model, limits = order.model, order.model.media
    if facts.modality not in model.modalities & order.modalities:
        raise MediaRejected(f"{model.name} takes no {_PLURAL[facts.modality]} here")
    max_bytes = limits.max_bytes(facts.modality)
    if max_bytes is not None and facts.size_bytes > max_bytes:
        raise MediaTooLarge(
            f"the {facts.modality.value} has {facts.size_bytes} bytes, and {model.name} takes "
            f"{max_bytes}",
            max_bytes=max_bytes,
        )
    formats = limits.formats(facts.modality)
    if order.keeps_contract and formats and facts.format not in formats:
        raise MediaRejected(
            f"{model.name} takes no {_PLURAL[facts.modality]} of the format {facts.format}, only "
            f"{', '.join(sorted(formats))}"
        )
