"""
Texts, pictures and videos in one space: the default text model, and a tower of our own beside it.

A picture's vector is the tower's; a video's is the mean of its frames'; a text's is the text
model's, projected. Several parts become the mean of theirs.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from milvane.domain.callers import ANYONE
from milvane.domain.contents import ContentTokens, MediaFacts, SeenPart, Wishes
from milvane.domain.embedded import EMBEDDED_PICTURES, Embedded
from milvane.domain.errors import Internal
from milvane.domain.models import Lane, Modality, Purpose
from milvane.domain.pictures import Clip, Filter, Fit, Sampling, Seen, Sizing, Viewing
from milvane.inference.adapting import adapt
from milvane.inference.batching import round_up
from milvane.inference.cores import usable_cores
from milvane.inference.engine import Engine, EngineFacts
from milvane.inference.passes import Counts, PassQueue, QueueLimits, Work
from milvane.inference.pictures.checking import check_golden, read_weights
from milvane.inference.pictures.network import TowerNetwork
from milvane.inference.pictures.tower import Tower
from milvane.inference.settings import InferenceSettings
from milvane.inference.windowing import normalize_rows

LOG = logging.getLogger(__name__)

PASS_PICTURES = 8
"""Pictures of one pass: more are hardly faster, and a text waits for the core that it runs on."""

MAX_PENDING_PICTURES = 4096
"""Waiting pictures of a lane from which on new requests are refused: 110 MB of pixels."""

FPS, MAX_FRAMES = 1.0, 32
"""Frames of a video that are looked at, where the caller does not say how many."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class TokenizedPictures:
    """A content but for its pixels."""

    tokens: ContentTokens
    key: bytes
    """Equal for two contents only if their vectors are equal."""
    parts: tuple[NDArray[np.int32] | None, ...]
    """The ids of each text; none for an image or a video."""


class PicturesEngine:
    """Embeds contents; made by `open_pictures`, and usable while that is entered."""

    def __init__(
        self, texts: Engine, tower: Tower, queue: PassQueue[Pixels], facts: EngineFacts
    ) -> None:
        self.facts = facts
        self._texts = texts
        self._tower = tower
        self._queue = queue
        self._sizing = Sizing(Fit.CONTAIN, Filter.BICUBIC, side=tower.side)

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
        return self._tower.width

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it takes: all there is."""
        return frozenset(Modality)

    @property
    def counts(self) -> Counts:
        """What has been computed of pictures since the start."""
        return self._queue.counts

    def pending_inputs(self, lane: Lane) -> int:
        """Say how many pictures wait in a lane."""
        return self._queue.pending_inputs_of(lane)

    def trouble(self) -> str | None:
        """Say why nothing can be embedded now; none if it can."""
        return self._texts.trouble()

    def view(self, wishes: Wishes) -> Viewing:
        """Say how it wants to see images and videos; a wish for more tokens changes nothing."""
        return Viewing(self._sizing, self._sampling(wishes))

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes the vectors of texts of this purpose."""
        return self._texts.takes_instruction(purpose)

    async def tokenize(
        self, contents: Sequence[Sequence[SeenPart]], wishes: Wishes
    ) -> list[TokenizedPictures]:
        """
        Prepare contents, but for their pixels.

        An image counts as one token for each cell of the tower's last map, a video as its frames.
        """
        texts = [part for parts in contents for part in parts if isinstance(part, str)]
        instruction = wishes.instruction if self.takes_instruction(wishes.purpose) else None
        token_ids = iter(
            await self._texts.tokenize(texts, purpose=wishes.purpose, instruction=instruction)
            if texts
            else []
        )
        sampling = self._sampling(wishes)
        return [
            self._join(
                [(part, next(token_ids) if isinstance(part, str) else None) for part in parts],
                sampling,
            )
            for parts in contents
        ]

    async def embed(
        self,
        content: TokenizedPictures,
        seen: Sequence[Seen],
        *,
        dimension: int,
        lane: Lane,
        tenant: str = ANYONE.tenant,
        time_left_s: float | None = None,
    ) -> NDArray[np.float32]:
        """
        Embed one content; see `ContentEngine.embed`.

        Raises:
            Internal: If a picture has another size than was asked for, or the network fails.
        """
        token_ids = [part for part in content.parts if part is not None]
        if len(seen) != len(content.parts) - len(token_ids):
            raise Internal("a content came with another number of pictures than it has")
        vectors: list[NDArray[np.float32]] = []
        if token_ids:
            rows = await self._texts.embed(
                token_ids,
                dimension=self.width,
                lane=lane,
                tenant=tenant,
                time_left_s=time_left_s,
            )
            vectors += [*normalize_rows(rows @ self._tower.texts.T)]
        if seen:
            vectors += await self._look(seen, lane, tenant, time_left_s)
        fused = np.stack(vectors).mean(0, keepdims=True)
        return np.asarray(adapt(normalize_rows(fused), dimension, None)[0])

    async def _look(
        self, seen: Sequence[Seen], lane: Lane, tenant: str, time_left_s: float | None
    ) -> list[NDArray[np.float32]]:
        """Embed pictures and videos, a vector of length 1 for each."""
        frames = [self._frames(each) for each in seen]
        work = [Work(self._tower.cells, pixels) for several in frames for pixels in several]
        rows = await self._queue.run(work, lane=lane, tenant=tenant, time_left_s=time_left_s)
        directions = normalize_rows(np.stack(rows))
        ends = np.cumsum([len(several) for several in frames])
        means = [part.mean(0) for part in np.split(directions, ends[:-1])]
        return [*normalize_rows(np.stack(means))]

    def _frames(self, seen: Seen) -> list[Pixels]:
        frames = [*seen.frames] if isinstance(seen, Clip) else [seen.pixels]
        side = self._tower.side
        if not frames or any(pixels.shape != (side, side, 3) for pixels in frames):
            raise Internal(f"the tower takes pictures of {side} x {side} pixels")
        return frames

    def _sampling(self, wishes: Wishes) -> Sampling:
        return Sampling(
            self._sizing,
            fps=wishes.fps or FPS,
            min_frames=1,
            max_frames=wishes.max_frames or MAX_FRAMES,
        )

    def _join(
        self, parts: Sequence[tuple[SeenPart, NDArray[np.int32] | None]], sampling: Sampling
    ) -> TokenizedPictures:
        text = image = video = 0
        key = hashlib.sha256()
        for part, ids in parts:
            if ids is not None:
                text += len(ids)
                key.update(b"text" + hashlib.sha256(ids.tobytes()).digest())
            elif isinstance(part, MediaFacts):
                chosen: tuple[int, ...] = (0,)
                if part.modality is Modality.VIDEO:
                    chosen = sampling.choose(part.frames, part.fps)
                    video += self._tower.cells * len(chosen)
                else:
                    image += self._tower.cells
                told = ",".join(map(str, chosen)).encode()
                key.update(b"look" + part.digest + hashlib.sha256(told).digest())
        return TokenizedPictures(
            ContentTokens(text, image, video), key.digest(), tuple(ids for _, ids in parts)
        )


@asynccontextmanager
async def open_pictures(
    texts: Engine,
    settings: InferenceSettings,
    *,
    weights: Embedded = EMBEDDED_PICTURES,
    folder: Path | None = None,
) -> AsyncIterator[PicturesEngine]:
    """
    Load the embedded tower, check it on a known picture and text, and serve it until the end.

    Args:
        texts: The default text model, open for at least as long.

        settings: How much it may use.

        weights: Which tower.

        folder: Where its file is; in this package if not given.

    Raises:
        Conflict: If the file is damaged, or gives wrong vectors here.

        Internal: If the network cannot be compiled.
    """
    cores = settings.threads or usable_cores()
    # Half of the cores: a text that comes in the meantime finds another one.
    tower, network = await anyio.to_thread.run_sync(
        partial(_load, weights, folder, threads=max(1, cores // 2))
    )
    await check_golden(texts, tower, network, weights, folder)
    LOG.info("Loaded %s on %s, %s", weights.name, network.name, network.precision)
    limits = QueueLimits(
        max_pass_tokens=PASS_PICTURES * round_up(tower.cells),
        max_pending_tokens=settings.max_pending_content_tokens,
        max_pending_inputs=min(settings.max_pending_inputs, MAX_PENDING_PICTURES),
    )
    async with PassQueue(network.forward, limits, concurrency=network.threads) as queue:
        yield PicturesEngine(texts, tower, queue, _facts(texts, network, weights))


def _load(weights: Embedded, folder: Path | None, *, threads: int) -> tuple[Tower, TowerNetwork]:
    tower = read_weights(weights, folder)
    return tower, TowerNetwork(tower, threads=threads)


def _facts(texts: Engine, network: TowerNetwork, weights: Embedded) -> EngineFacts:
    return EngineFacts(
        weights=weights.name,
        version=weights.version,
        runtime=network.name,
        precision=network.precision,
        threads=network.threads,
        width=network.width,
        window_tokens=texts.facts.window_tokens,
        fingerprint=_digest(texts.fingerprint, weights.sha256, network.precision),
        space=_digest(texts.space, weights.sha256),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
