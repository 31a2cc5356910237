"""The queue in front of a runtime of texts: token ids in, one pooled state for each out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from milvane.domain.callers import ANYONE
from milvane.domain.models import Lane
from milvane.inference.batching import round_up
from milvane.inference.passes import PassQueue, QueueLimits, Work
from milvane.inference.runtimes.port import Patience, PatientRuntime, Runtime


class Batcher(PassQueue[NDArray[np.int32]]):
    """Groups token ids of different requests into forward passes of one runtime."""

    def __init__(
        self,
        runtime: Runtime,
        limits: QueueLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Prepare a queue; nothing runs before it is entered.

        Args:
            runtime: What computes; outlives the batcher.

            limits: Bounds of passes and lanes.

            clock: Seconds that never go back.
        """
        super().__init__(
            partial(_forward, runtime.forward),
            replace(limits, packs=runtime.packs),
            forward_within=partial(_forward_within, runtime)
            if isinstance(runtime, PatientRuntime)
            else None,
            concurrency=runtime.concurrency,
            clock=clock,
        )
        self._width = runtime.width

    async def compute(
        self,
        token_ids: Sequence[NDArray[np.int32]],
        *,
        lane: Lane,
        tenant: str = ANYONE.tenant,
        time_left_s: float | None = None,
    ) -> NDArray[np.float32]:
        """
        Run inputs through the network, together with those of other requests; see `run`.

        Args:
            token_ids: Each input's ids, special tokens included, at least one.

            lane: Who waits.

            tenant: Whose work it is; in a lane, each gets an equal share of the tokens.

            time_left_s: Until nobody waits any more; none if somebody always does.

        Returns:
            One row per input, in the order given, shape ``(inputs, width)``, not normalized.

        Raises:
            ServiceError: As `run`.
        """
        work = [Work(len(ids), ids) for ids in token_ids]
        rows = await self.run(work, lane=lane, tenant=tenant, time_left_s=time_left_s)
        return self._pooled(rows)

    async def compute_weighed(
        self,
        token_ids: Sequence[NDArray[np.int32]],
        *,
        lane: Lane,
        tenant: str = ANYONE.tenant,
        time_left_s: float | None = None,
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """
        Run inputs through a network that weighs tokens; see `compute`.

        Returns:
            As `compute`, and the weight of each token of each input, from 0 up.
        """
        work = [Work(len(ids), ids) for ids in token_ids]
        rows = await self.run(work, lane=lane, tenant=tenant, time_left_s=time_left_s)
        width = self._width
        weights = [
            row[width : width + len(ids)].copy() for row, ids in zip(rows, token_ids, strict=True)
        ]
        return self._pooled(rows), weights

    def _pooled(self, rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        pooled = np.empty((len(rows), self._width), np.float32)
        for place, row in enumerate(rows):
            pooled[place] = row[: self._width]
        return pooled


def _forward_within(
    runtime: PatientRuntime, patience: Patience
) -> Callable[[list[NDArray[np.int32]]], NDArray[np.float32]]:
    return partial(_forward, partial(runtime.forward_within, patience=patience))


def _forward(
    forward: Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]],
    token_ids: list[NDArray[np.int32]],
) -> NDArray[np.float32]:
    lengths = np.array([len(ids) for ids in token_ids], np.int32)
    padded = np.zeros((len(token_ids), round_up(int(lengths.max()))), np.int32)
    for row, ids in enumerate(token_ids):
        padded[row, : len(ids)] = ids
    return forward(padded, lengths)
