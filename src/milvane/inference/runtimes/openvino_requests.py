"""Requests of a graph that OpenVINO compiled, and what becomes of them when one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CompiledRequests:
    """
    Lends each pass a request of its own; from any thread.

    A node that fails, most often for too little memory, leaves a graph half changed: what it gives
    next may be refused, or wrong. So the graph is compiled anew before the next pass.
    """

    def __init__(self, requests: Sequence[Any], compile_anew: Callable[[], Sequence[Any]]) -> None:
        """
        Take over requests.

        Args:
            requests: All those of a compiled graph.

            compile_anew: Makes as many of a fresh one, or raises what `run` then raises.
        """
        self._compile_anew = compile_anew
        self._compiling = Lock()  # guards against compiling twice for one failure
        self._idle: SimpleQueue[Any] | None = _queue_of(requests)

    @property
    def idle(self) -> int:
        """How many passes could begin at once."""
        requests = self._idle
        return 0 if requests is None else requests.qsize()

    def run(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        """
        Compute one pass, in its turn; returns the graph's one result, the caller's own.

        Raises:
            RuntimeError: If OpenVINO cannot compute it.
        """
        requests, request = self._take()
        try:
            return _infer(request, inputs)
        except RuntimeError as error:
            self._idle, said = None, str(error)
        finally:
            requests.put(request)
        # Whoever looks at the error must not hold the failed graph with all its memory.
        del requests, request
        raise RuntimeError(said)

    def _take(self) -> tuple[SimpleQueue[Any], Any]:
        while True:
            with self._compiling:
                if self._idle is None:
                    self._idle = _queue_of(self._compile_anew())
                requests = self._idle
            request = requests.get()
            if requests is self._idle:
                return requests, request
            requests.put(request)  # it failed for another pass meanwhile; others may wait as well


def _queue_of(requests: Sequence[Any]) -> SimpleQueue[Any]:
    queue: SimpleQueue[Any] = SimpleQueue()
    for request in requests:
        queue.put(request)
    return queue


def _infer(request: Any, inputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    # Not by the request's own `infer`: the error of a node is lost there, and what the pass before
    # gave comes back as if it were the answer.
    # Shared always or never: a request that was lent memory once cannot grow its own later.
    request.start_async(inputs, share_inputs=True)
    request.wait()
    return np.array(request.get_output_tensor(0).data)
