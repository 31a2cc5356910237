"""Any network through OpenVINO on the CPU, its graph built straight from the tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from threading import Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Conflict, Internal
from milvane.inference.batching import round_up
from milvane.inference.runtimes.network import Head, Network
from milvane.inference.runtimes.openvino_constants import GROUP, WHOLE
from milvane.inference.runtimes.openvino_graph import build_graph
from milvane.inference.runtimes.openvino_library import load_openvino
from milvane.inference.runtimes.openvino_products import multiplies_bytes
from milvane.inference.runtimes.openvino_requests import CompiledRequests
from milvane.inference.settings import Precision

LOG = logging.getLogger(__name__)

DEVICE = "CPU"
LARGE = 200_000_000
"""Numbers in a network's layers from which on a pass fills all cores, and memory is what counts."""


class OpenvinoNetwork:
    """
    A `Runtime` of as many independent single-threaded streams as there are threads.

    Streams give the most throughput. A lone input on an idle machine takes another way: the same
    weights compiled for one stream of all threads, which answers in two thirds of the time. A large
    network is compiled once, for one stream of all threads.
    """

    def __init__(
        self,
        network: Network,
        head: Head,
        *,
        threads: int,
        precision: Precision,
        reread: Callable[[], Network] | None = None,
    ) -> None:
        """
        Build and compile the network, some tenths of a second.

        Args:
            network: Used as it is; its files stay mapped while this is open where matrices are
                computed with as they lie.

            head: What becomes of its states.

            threads: Cores that compute; as many passes run at once.

            precision: ``auto`` takes bf16 where the processor multiplies it natively.

            reread: Gives the network again, should it have to be compiled anew; it need not be kept
                then. Without, it is kept.

        Raises:
            Conflict: If the processor has no bf16, but it is asked for.

            Internal: If OpenVINO cannot compile the network.
        """
        ov = load_openvino()  # heavy: only when a runtime is opened

        core = ov.Core()
        self.name = f"OpenVINO {ov.get_version().split('-')[0]}"
        self.precision = _choose_precision(core, precision)
        self.threads = threads
        self.concurrency = threads if network.parameters < LARGE else 1
        self.width = head.width_after(network.width)
        self.max_tokens = network.max_tokens
        self.weighs_tokens = network.token_head is not None
        self.packs = True
        # Graphs use tensors where they lie, in mapped files: they must outlive them.
        self._lent: list[Any] = []
        self._rounds = self.precision == "int8" and multiplies_bytes(ov, core, DEVICE)
        self._floats = "bf16" if self.precision != "f32" and _has_bf16(core) else "f32"
        reread = reread or partial(_same, network)
        self._build_anew: Callable[[], Any] = lambda: self._build(reread(), head)
        graph = self._build(network, head)
        self._narrow = self._open(core, graph, streams=self.concurrency)
        self._wide: CompiledRequests | None = None
        self._wide_is_taken = Lock()  # guards the one wide request
        # Only the first questions after a start would miss it, and the start need not wait.
        self._widening: Thread | None = None
        if self.concurrency > 1:
            # Made only here: it would keep the graph, and with it a second copy of the matrices.
            self._widening = Thread(target=self._widen, args=(core, graph), name="milvane-compile")
            self._widening.start()

    def forward(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Run the network over one padded batch; see `Runtime.forward`."""
        # A lone input on an idle machine is a person's question: all cores answer it.
        lone = len(token_ids) == 1 and self._narrow.idle == self.concurrency
        if lone and self._wide is not None and self._wide_is_taken.acquire(blocking=False):
            try:
                return _run(self._wide, token_ids, lengths)
            finally:
                self._wide_is_taken.release()
        return _run(self._narrow, token_ids, lengths)

    def close(self) -> None:
        """Let go of the compiled network."""
        self.finish()
        del self._narrow, self._build_anew
        self._wide = None
        self._lent = []

    def finish(self) -> None:
        """Wait until a lone input is answered by all cores; at most some tenths of a second."""
        if self._widening is not None:
            self._widening.join()

    def _widen(self, core: Any, graph: Any) -> None:
        try:
            self._wide = self._open(core, graph, streams=1)
        except Internal:
            LOG.warning("Queries run on one core each", exc_info=True)

    def _build(self, network: Network, head: Head) -> Any:
        graph, lent = build_graph(
            network, head, precision=self.precision, rounds_states=self._rounds
        )
        self._lent += lent
        return graph

    def _open(self, core: Any, graph: Any, *, streams: int) -> CompiledRequests:
        """Compile a graph, such that it can be compiled anew without being kept."""
        return CompiledRequests(
            self._compile(core, graph, streams=streams),
            lambda: self._compile(core, self._build_anew(), streams=streams),
        )

    def _compile(self, core: Any, graph: Any, *, streams: int) -> list[Any]:
        """Compile the network, and make as many requests as it has streams."""
        options = {
            "INFERENCE_PRECISION_HINT": self._floats,
            # Matrices of 4 bits meet states of 8 bits, of which so many share a scale.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if self.precision == "int4" else 0,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": self.threads,
            # Other threads of this process, and its neighbours, need the cores as well.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            compiled = core.compile_model(graph, DEVICE, options)
            return [compiled.create_infer_request() for _ in range(streams)]
        except RuntimeError as error:
            raise Internal(f"OpenVINO cannot compile the network: {error}") from error


def _run(
    requests: CompiledRequests, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]
) -> NDArray[np.float32]:
    try:
        return requests.run(token_ids, lengths, *_pack(token_ids.shape, lengths))
    except RuntimeError as error:
        raise Internal(f"OpenVINO cannot run the network over this batch: {error}") from error


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def _pack(
    shape: tuple[int, ...], lengths: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """
    Say where each token of a padded batch stands among the real ones.

    Returns:
        For each packed token, its place in the flat batch; a few at the end are the first again, so
        that their numbers are few. And for each place of the batch, its packed token, shape
        ``(batch, tokens)``; some token where there is padding.
    """
    real = np.flatnonzero(np.arange(shape[1]) < lengths[:, np.newaxis])
    packed = np.zeros(round_up(len(real)), np.int32)
    packed[: len(real)] = real
    unpacked = np.zeros(shape, np.int32)
    unpacked.ravel()[real] = np.arange(len(real))
    return packed, unpacked


def _same(network: Network) -> Network:
    return network


def _choose_precision(core: Any, precision: Precision) -> str:
    has_bf16 = _has_bf16(core)
    if precision == "bf16" and not has_bf16:
        raise Conflict(
            "this processor has no native bf16: set inference.precision to 'auto' or 'f32'"
        )
    if precision in WHOLE:
        return precision
    return "bf16" if has_bf16 and precision != "f32" else "f32"
