"""One set of weights, loaded and running: texts in, vectors out."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from milvane.domain.callers import ANYONE
from milvane.domain.catalogue import Weights
from milvane.domain.errors import Conflict
from milvane.domain.models import Lane, Purpose
from milvane.domain.vectors import SparseVector
from milvane.inference.adapting import adapt
from milvane.inference.batcher import Batcher
from milvane.inference.batching import round_up
from milvane.inference.calibration import Calibration, check_golden, read_calibration
from milvane.inference.encoders.recipe import Recipe, read_recipe
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.passes import Counts, QueueLimits
from milvane.inference.remote.settings import RemoteSettings
from milvane.inference.runtimes.opening import open_runtime
from milvane.inference.runtimes.port import Patience, Runtime
from milvane.inference.self_test import SELF_TEST_TEXTS, check_same
from milvane.inference.settings import InferenceSettings
from milvane.inference.terms import gather_terms
from milvane.inference.weights import find
from milvane.inference.windowing import combine_windows, normalize_rows, split_windows

if TYPE_CHECKING:
    from milvane.inference.isolation import IsolatedRuntime
    from milvane.inference.remote.counting import ReplicaView
    from milvane.inference.remote.runtime import RemoteRuntime

LOG = logging.getLogger(__name__)

CHUNK_TEXTS = 128
"""Texts that are tokenized in one go; others get their turn between chunks."""

INLINE_TEXTS = 4
INLINE_CHARACTERS = 512
"""
Texts, and their characters, up to which tokenizing takes at most 0.2 ms: a change of thread costs
0.08 ms, and a query is tokenized in 0.03.
"""

INLINE_ROWS = 32
"""Rows up to which preparing and combining is cheaper than a change of thread."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What runs, for people and for telling two engines apart."""

    weights: str
    version: str
    runtime: str
    precision: str
    threads: int
    width: int
    window_tokens: int
    fingerprint: str
    """Equal for two engines only if they give the same vectors, up to rounding."""
    space: str
    """Equal for two engines whose vectors may be compared: without the precision."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    recipe: Recipe
    encoder: TextEncoder
    runtime: Runtime
    calibration: Calibration
    elsewhere: RemoteRuntime | IsolatedRuntime | None
    """The runtime, if its network is not in this process."""


@dataclass(frozen=True, slots=True)
class _Windows:
    """Texts cut into windows, all of them in order."""

    token_ids: list[NDArray[np.int32]]
    lengths: NDArray[np.int64]
    """Content tokens of each window."""
    counts: list[int]
    """Windows of each text."""


class Engine:
    """Serves one set of weights; made by `open_engine`, and usable while that is entered."""

    def __init__(
        self, loaded: _Loaded, batcher: Batcher, pool: ThreadPoolExecutor, facts: EngineFacts
    ) -> None:
        self.facts = facts
        self._encoder = loaded.encoder
        self._elsewhere = loaded.elsewhere
        self._basis = loaded.calibration.basis
        self._weighs_terms = loaded.runtime.weighs_tokens
        self._silent = np.array(sorted(loaded.encoder.silent_ids), np.int32)
        self._batcher = batcher
        self._pool = pool

    @property
    def counts(self) -> Counts:
        """What has been computed since the start."""
        return self._batcher.counts

    def pending_inputs(self, lane: Lane) -> int:
        """Say how many windows of texts wait in a lane."""
        return self._batcher.pending_inputs_of(lane)

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

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes the vectors of texts of this purpose."""
        return self._encoder.takes_instruction(purpose)

    def adds_words(self, purpose: Purpose) -> bool:
        """Say whether words of a prompt become part of texts of this purpose."""
        return bool(self._encoder.prompt(purpose))

    async def tokenize(
        self, texts: Sequence[str], *, purpose: Purpose | None, instruction: str | None = None
    ) -> list[NDArray[np.int32]]:
        """
        Turn texts into token ids.

        Args:
            texts: Any strings.

            purpose: Which side of a comparison the texts are on, for encoders that say so in words;
                none for the texts alone.

            instruction: What the comparison is for, instead of the encoder's usual words.

        Returns:
            For each text, in order, its ids without special tokens; never cut.
        """
        tokenize = partial(self._encoder.tokenize, purpose=purpose, instruction=instruction)
        if len(texts) <= INLINE_TEXTS and sum(map(len, texts)) <= INLINE_CHARACTERS:
            return tokenize(texts)
        token_ids: list[NDArray[np.int32]] = []
        for start in range(0, len(texts), CHUNK_TEXTS):
            token_ids += await self._in_pool(partial(tokenize, texts[start : start + CHUNK_TEXTS]))
        return token_ids

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
            Shape ``(texts, dimension)``, rows of length 1 in the order given.

        Raises:
            Overloaded: If the queue is full; nothing was computed.

            DeadlineExceeded: If the time is over first, or is certain to be.

            UpstreamUnavailable: If the engine is being closed.

            Internal: If the network fails on one of these texts.
        """
        if not token_ids:
            return np.empty((0, dimension), np.float32)
        rows = len(token_ids)
        windows = await self._near(rows, partial(_cut, self._encoder, token_ids))
        pooled = await self._batcher.compute(
            windows.token_ids, lane=lane, tenant=tenant, time_left_s=time_left_s
        )
        return await self._near(rows, partial(self._finish, pooled, windows, dimension))

    def trouble(self) -> str | None:
        """Say why nothing can be embedded now; none if it can."""
        return self._elsewhere.trouble() if self._elsewhere else None

    @property
    def replicas(self) -> Sequence[ReplicaView]:
        """How the servers stand that run the network elsewhere; none if it runs here."""
        return self._elsewhere.replicas if self._elsewhere else ()

    @property
    def weighs_terms(self) -> bool:
        """Whether a learned head of the network makes sparse vectors."""
        return self._weighs_terms

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
        Embed tokenized texts, and weigh their terms, in one pass; only where `weighs_terms`.

        Returns:
            As `embed`, and for each text its terms with the weights that the learned head gives.
        """
        if not token_ids:
            return np.empty((0, dimension), np.float32), []
        rows = len(token_ids)
        windows = await self._near(rows, partial(_cut, self._encoder, token_ids))
        pooled, weights = await self._batcher.compute_weighed(
            windows.token_ids, lane=lane, tenant=tenant, time_left_s=time_left_s
        )
        vectors = await self._near(rows, partial(self._finish, pooled, windows, dimension))
        gather = partial(gather_terms, windows.token_ids, weights, windows.counts, self._silent)
        return vectors, await self._near(rows, gather)

    def _finish(
        self, pooled: NDArray[np.float32], windows: _Windows, dimension: int
    ) -> NDArray[np.float32]:
        whole = combine_windows(pooled, windows.lengths, windows.counts)
        return adapt(whole, dimension, self._basis)

    async def _near(self, rows: int, work: Callable[[], _T]) -> _T:
        return work() if rows <= INLINE_ROWS else await self._in_pool(work)

    async def _in_pool(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


@asynccontextmanager
async def open_engine(
    weights: Weights,
    weights_dir: Path,
    settings: InferenceSettings,
    remote: RemoteSettings | None = None,
) -> AsyncIterator[Engine]:
    """
    Load a set of weights, check it on known texts, and serve it until the block is left.

    What is pending when the block is left is finished first.

    Args:
        weights: Which set; it must have been pulled.

        weights_dir: Where sets live.

        settings: How to run it.

        remote: Which servers run it, if it does not run here.

    Raises:
        NotFound: If the set is not there; the message says how to get it.

        Conflict: If it is damaged, of another family, or gives wrong vectors.

        UpstreamUnavailable: If none of the servers that run it answers.
    """
    if remote and remote.window_tokens:
        shorter = min(weights.window_tokens, remote.window_tokens)
        weights = replace(weights, window_tokens=shorter)
    limits = QueueLimits(
        max_pass_tokens=remote.max_pass_tokens if remote else settings.max_pass_tokens,
        max_pending_tokens=settings.max_pending_tokens,
        max_pending_inputs=settings.max_pending_inputs,
    )
    with ThreadPoolExecutor(2, "milvane-tokenize") as pool:
        patience, loop = Patience(), asyncio.get_running_loop()
        load = partial(_load, weights, weights_dir, settings, remote, patience)
        loaded = await _loaded(loop.run_in_executor(pool, load), patience)
        try:
            async with Batcher(loaded.runtime, limits) as batcher:
                yield Engine(loaded, batcher, pool, _facts(weights, loaded))
        finally:
            loaded.runtime.close()


async def _loaded(loading: asyncio.Future[_Loaded], patience: Patience) -> _Loaded:
    """Wait for what is being loaded; if nobody does any more, it is closed once it is loaded."""
    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        patience.end()
        await asyncio.wait([loading])
        if loading.exception() is None:
            loading.result().runtime.close()
        raise


def _load(
    weights: Weights,
    weights_dir: Path,
    settings: InferenceSettings,
    remote: RemoteSettings | None,
    patience: Patience,
) -> _Loaded:
    folder = find(weights, weights_dir)
    recipe = read_recipe(folder)
    if recipe.family != weights.family:
        raise Conflict(
            f"{folder} holds a network of the family {recipe.family!r}; {weights.name} is of the "
            f"family {weights.family!r}: run `milvane models pull {weights.name}`"
        )
    encoder = TextEncoder(folder, recipe, weights.window_tokens)
    elsewhere: RemoteRuntime | IsolatedRuntime | None = None
    if remote is not None:
        from milvane.inference.remote.runtime import RemoteRuntime  # few have servers elsewhere

        elsewhere = RemoteRuntime(remote, weights, encoder, patience)
    elif settings.isolated:
        from milvane.inference.isolation import IsolatedRuntime

        elsewhere = IsolatedRuntime(folder, threads=settings.threads, precision=settings.precision)
    runtime: Runtime = elsewhere or open_runtime(
        folder, recipe, threads=settings.threads, precision=settings.precision
    )
    loaded = _Loaded(recipe, encoder, runtime, read_calibration(weights), elsewhere)
    try:
        _check(weights, loaded)
    except BaseException:
        runtime.close()
        raise
    LOG.info("Loaded %s on %s, %s", weights.name, runtime.name, runtime.precision)
    return loaded


def _check(weights: Weights, loaded: _Loaded) -> None:
    runtime, golden = loaded.runtime, loaded.calibration.golden
    if runtime.width != weights.width or runtime.max_tokens < round_up(weights.window_tokens):
        raise Conflict(
            f"the network of {weights.name} has width {runtime.width} and {runtime.max_tokens} "
            f"positions; the catalogue says {weights.width} and at least {weights.window_tokens}"
        )
    if golden:
        vectors = _try(loaded, [text.text for text in golden])
        check_golden(golden, vectors, weights, precision=runtime.precision)
    elif weights.folder:
        vectors = _try(loaded, SELF_TEST_TEXTS)
        check_same(vectors, Path(weights.folder), weights.name, precision=runtime.precision)


def _try(loaded: _Loaded, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts, or their beginnings, without the queue; rows have length 1."""
    encoder, runtime = loaded.encoder, loaded.runtime
    contents = [ids[: encoder.content_tokens] for ids in encoder.tokenize(texts)]
    inputs = [encoder.frame(content) for content in contents]
    lengths = np.array([len(ids) for ids in inputs], np.int32)
    padded = np.zeros((len(inputs), round_up(int(lengths.max()))), np.int32)
    for row, ids in enumerate(inputs):
        padded[row, : len(ids)] = ids
    return normalize_rows(runtime.forward(padded, lengths)[:, : runtime.width])


def _cut(encoder: TextEncoder, token_ids: Sequence[NDArray[np.int32]]) -> _Windows:
    contents: list[NDArray[np.int32]] = []
    counts = []
    for ids in token_ids:
        slices = split_windows(len(ids), encoder.content_tokens)
        counts.append(len(slices))
        contents += [ids[window] for window in slices]
    lengths = np.array([len(content) for content in contents], np.int64)
    return _Windows([encoder.frame(content) for content in contents], lengths, counts)


def _facts(weights: Weights, loaded: _Loaded) -> EngineFacts:
    runtime = loaded.runtime
    parts = (
        *(file.sha256 for file in weights.files),
        loaded.recipe.template,
        str(weights.window_tokens),
        loaded.calibration.basis_sha256,
    )
    return EngineFacts(
        weights=weights.name,
        version=weights.version,
        runtime=runtime.name,
        precision=runtime.precision,
        threads=runtime.threads,
        width=runtime.width,
        window_tokens=weights.window_tokens,
        fingerprint=_digest(*parts, runtime.precision),
        space=_digest(*parts),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
