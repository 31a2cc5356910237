"""One set of weights that takes images too, loaded and running: contents in, vectors out."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from milvane.domain.callers import ANYONE
from milvane.domain.catalogue import Weights
from milvane.domain.contents import SeenPart, Wishes
from milvane.domain.errors import Conflict
from milvane.domain.models import Lane, Modality, Purpose
from milvane.domain.pictures import Seen, Viewing
from milvane.inference.adapting import adapt
from milvane.inference.contents.checking import check
from milvane.inference.contents.families import FAMILIES, Opened
from milvane.inference.contents.networks.device import Device
from milvane.inference.contents.ports import Load, Tokenized
from milvane.inference.engine import EngineFacts
from milvane.inference.passes import Counts, PassQueue, QueueLimits
from milvane.inference.runtimes.torch_network import LOADING
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import find

LOG = logging.getLogger(__name__)

PREPARING_THREADS = 2
"""Contents that are tokenized or cut into patches at once, while the network runs."""

ACCELERATED_PASS_TOKENS = 16_384
PROCESSOR_PASS_TOKENS = 2_048
"""Tokens of one pass where the operator does not say it."""

_T = TypeVar("_T")


class ContentsEngine:
    """
    Serves one set of weights; satisfies `serving.ports.ContentEngine`.

    Made by `open_content_engine`, and usable while that is entered.
    """

    def __init__(
        self,
        opened: Opened,
        queue: PassQueue[Load],
        pool: ThreadPoolExecutor,
        facts: EngineFacts,
    ) -> None:
        self.facts = facts
        self._encoder = opened.encoder
        self._queue = queue
        self._pool = pool

    @property
    def counts(self) -> Counts:
        """What has been computed since the start."""
        return self._queue.counts

    def pending_inputs(self, lane: Lane) -> int:
        """Say how many inputs of the network wait in a lane."""
        return self._queue.pending_inputs_of(lane)

    @property
    def fingerprint(self) -> str:
        """Equal for two engines only if they give the same vectors, up to rounding."""
        return self.facts.fingerprint

    @property
    def space(self) -> str:
        """Equal for two engines whose vectors may be compared."""
        return self.facts.space

    @property
    def width(self) -> int:
        """Components that a vector really has; larger ones are filled up with zeros."""
        return self.facts.width

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it takes."""
        return self._encoder.modalities

    def trouble(self) -> str | None:
        """Say why nothing can be embedded now; none, for the network runs here."""
        return None

    def view(self, wishes: Wishes) -> Viewing:
        """Say how it wants to see images and videos."""
        return self._encoder.view(wishes)

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes the vectors of contents of this purpose."""
        return self._encoder.takes_instruction(purpose)

    async def tokenize(
        self, contents: Sequence[Sequence[SeenPart]], wishes: Wishes
    ) -> list[Tokenized]:
        """
        Prepare contents for the network, but for their pixels.

        Args:
            contents: The parts of each, at least one.

            wishes: What the caller asks for beside them.

        Returns:
            For each content, in order, what `embed` takes; never cut.
        """
        return await self._in_pool(partial(self._encoder.tokenize, contents, wishes))

    async def embed(
        self,
        content: Tokenized,
        seen: Sequence[Seen],
        *,
        dimension: int,
        lane: Lane,
        tenant: str = ANYONE.tenant,
        time_left_s: float | None = None,
    ) -> NDArray[np.float32]:
        """
        Embed one content, together with those of other callers.

        Args:
            content: As `tokenize` made it.

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

            UpstreamUnavailable: If the engine is being closed.

            Internal: If the network fails on this content.
        """
        began_s = time.monotonic()
        work = await self._in_pool(partial(self._encoder.pack, content, seen))
        if time_left_s is not None:
            time_left_s -= time.monotonic() - began_s
        rows = await self._queue.run(work, lane=lane, tenant=tenant, time_left_s=time_left_s)
        vector = self._encoder.combine(content, rows)
        return np.asarray(adapt(vector[None], dimension, None)[0])

    async def _in_pool(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


@asynccontextmanager
async def open_content_engine(
    weights: Weights, weights_dir: Path, settings: InferenceSettings
) -> AsyncIterator[ContentsEngine]:
    """
    Load a set of weights that takes images, check it, and serve it until the block is left.

    What is pending when the block is left is finished first.

    Args:
        weights: Which set; `takes_media` says whether it is one. It must have been pulled.

        weights_dir: Where sets live.

        settings: How to run it.

    Raises:
        NotFound: If the set is not there; the message says how to get it.

        Conflict: If it is damaged, of another family, or gives wrong vectors; or if what runs it
            is not installed.
    """
    with ThreadPoolExecutor(PREPARING_THREADS, "milvane-contents") as pool:
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(pool, _load, weights, weights_dir, settings)
        try:
            limits = _limits(settings, is_accelerated=opened.network.is_accelerated)
            forward = opened.network.forward
            concurrency = opened.network.concurrency
            async with PassQueue(forward, limits, concurrency=concurrency) as queue:
                yield ContentsEngine(opened, queue, pool, _facts(weights, opened))
        finally:
            opened.network.close()


def takes_media(weights: Weights) -> bool:
    """Say whether a set of weights takes images, and is opened here."""
    return weights.family in FAMILIES


def _limits(settings: InferenceSettings, *, is_accelerated: bool) -> QueueLimits:
    usual = ACCELERATED_PASS_TOKENS if is_accelerated else PROCESSOR_PASS_TOKENS
    return QueueLimits(
        max_pass_tokens=settings.max_content_pass_tokens or usual,
        max_pending_tokens=settings.max_pending_content_tokens,
        max_pending_inputs=settings.max_pending_inputs,
    )


def _load(weights: Weights, weights_dir: Path, settings: InferenceSettings) -> Opened:
    folder = find(weights, weights_dir)
    if not takes_media(weights):
        raise Conflict(f"the weights {weights.name} are for texts alone: family {weights.family!r}")
    with LOADING:
        device = Device(precision=settings.precision, threads=settings.threads)
        opened = FAMILIES[weights.family](folder, device)
    try:
        _refuse_other_width(weights, opened.network.width)
        check(opened.encoder, opened.network, folder, weights.name)
    except BaseException:
        opened.network.close()
        raise
    network = opened.network
    LOG.info("Loaded %s on %s, %s", weights.name, network.name, network.precision)
    return opened


def _refuse_other_width(weights: Weights, width: int) -> None:
    if width != weights.width:
        raise Conflict(
            f"the network of {weights.name} has width {width}; its settings say {weights.width}"
        )


def _facts(weights: Weights, opened: Opened) -> EngineFacts:
    network, encoder = opened.network, opened.encoder
    parts = (*(file.sha256 for file in weights.files), encoder.template)
    return EngineFacts(
        weights=weights.name,
        version=weights.version,
        runtime=network.name,
        precision=network.precision,
        threads=network.threads,
        width=network.width,
        window_tokens=encoder.window_tokens,
        fingerprint=_digest(*parts, network.precision),
        space=_digest(*parts),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
