"""What the engine asks of whatever runs a network."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import UpstreamUnavailable


class Unanswered(UpstreamUnavailable):
    """No pass can be run now, whatever it holds: none of its inputs is to blame."""


class Patience:
    """
    How long somebody waits for a pass, and whether still.

    Belongs to the queue, whose loop ends it; read in the thread of the pass.
    """

    def __init__(
        self, deadline_s: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Begin to wait.

        Args:
            deadline_s: On the clock, from when on nobody waits; none if somebody always does.

            clock: Seconds that never go back.
        """
        self._deadline_s = deadline_s
        self._clock = clock
        self._end: Future[None] = Future()

    def left_s(self) -> float | None:
        """Say how long somebody waits from now, never less than 0; none if always."""
        return None if self._deadline_s is None else max(self._deadline_s - self._clock(), 0.0)

    def end(self) -> None:
        """Say that nobody waits any more; may be said again."""
        if not self._end.done():
            self._end.set_result(None)

    def when_over(self, tell: Callable[[], object]) -> None:
        """Call `tell` once nobody waits any more, before the deadline; at once if it is so."""
        self._end.add_done_callback(lambda _: tell())


class Runtime(Protocol):
    """One network, loaded on one device."""

    @property
    def name(self) -> str:
        """What runs it, with its version, for people."""

    @property
    def precision(self) -> str:
        """Number format: ``bf16`` or ``f32``; or ``int8``, where matrices are kept in 8 bits."""

    @property
    def threads(self) -> int:
        """Cores that compute."""

    @property
    def width(self) -> int:
        """Components of a vector."""

    @property
    def max_tokens(self) -> int:
        """The longest padded row that the network has positions for."""

    @property
    def weighs_tokens(self) -> bool:
        """Whether a learned head says what each token weighs as a term."""

    @property
    def concurrency(self) -> int:
        """Forward passes that may run at once; more than these wait for each other."""

    @property
    def packs(self) -> bool:
        """Whether padding is computed in the attention alone, and not where most of the work is."""

    def forward(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """
        Run the network over one padded batch. Blocks; may be called from any thread.

        Args:
            token_ids: Special tokens included, shape ``(batch, tokens)``, padded on the right
                with any valid id.

            lengths: Real tokens of each row, shape ``(batch,)``, each in ``1..tokens``.

        Returns:
            The pooled state of each row's real tokens, shape ``(batch, width)``, not normalized;
            the caller's own. A row does not depend on the others. Where tokens are weighed, a
            weight from 0 up for each token follows: shape ``(batch, width + tokens)``.

        Raises:
            Internal: If the network cannot be run over this batch.

            Unanswered: If it could not be run over any.
        """

    def close(self) -> None:
        """Free the network; no pass may be running, and none may follow."""


@runtime_checkable
class PatientRuntime(Protocol):
    """A runtime that can end a pass for which nobody waits."""

    def forward_within(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32], patience: Patience
    ) -> NDArray[np.float32]:
        """
        Run the network over one padded batch as long as somebody waits; see `Runtime.forward`.

        Raises:
            DeadlineExceeded: If nobody waits any more.
        """
