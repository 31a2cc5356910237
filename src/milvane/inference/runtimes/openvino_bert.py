"""BERT through OpenVINO on the CPU, its graph built straight from the tensors."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Conflict, Internal
from milvane.inference.runtimes.bert_checkpoint import BertCheckpoint
from milvane.inference.runtimes.openvino_graph import build_graph
from milvane.inference.settings import Precision

DEVICE = "CPU"


class OpenvinoBert:
    """A `Runtime` of as many independent single-threaded streams as there are threads."""

    def __init__(self, checkpoint: BertCheckpoint, *, threads: int, precision: Precision) -> None:
        """
        Build and compile the network, a tenth of a second.

        Args:
            checkpoint: Its tensors are copied.

            threads: Cores that compute; as many passes run at once.

            precision: ``auto`` takes bf16 where the processor multiplies it natively.

        Raises:
            Conflict: If the processor has no bf16, but it is asked for.

            Internal: If OpenVINO cannot compile the network.
        """
        import openvino as ov  # heavy: only when a runtime is opened

        core = ov.Core()
        self.name = f"OpenVINO {ov.get_version().split('-')[0]}"
        self.precision = _choose_precision(core, precision)
        self.threads = self.concurrency = threads
        self.width = checkpoint.shape.hidden_size
        self.max_tokens = checkpoint.shape.max_position_embeddings
        try:
            self._compiled = core.compile_model(
                build_graph(checkpoint),
                DEVICE,
                {
                    "INFERENCE_PRECISION_HINT": self.precision,
                    "NUM_STREAMS": threads,
                    "INFERENCE_NUM_THREADS": threads,
                    # Other threads of this process, and its neighbours, need the cores as well.
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except RuntimeError as error:
            raise Internal(f"OpenVINO cannot compile the network: {error}") from error
        # A request is not thread-safe, so each pass borrows one.
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(threads):
            self._idle.put(self._compiled.create_infer_request())

    def forward(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Run the network over one padded batch; see `Runtime.forward`."""
        request = self._idle.get()
        try:
            # Shared, or OpenVINO keeps the first shape's memory and refuses a larger one later.
            results = request.infer((token_ids, lengths), share_inputs=True)
            return np.asarray(results[0])
        except RuntimeError as error:
            raise Internal(f"OpenVINO cannot run the network over this batch: {error}") from error
        finally:
            self._idle.put(request)

    def close(self) -> None:
        """Let go of the compiled network."""
        self._idle = SimpleQueue()
        self._compiled = None


def _choose_precision(core: Any, precision: Precision) -> str:
    has_bf16 = "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise Conflict(
            "this processor has no native bf16: set inference.precision to 'auto' or 'f32'"
        )
    return "bf16" if has_bf16 and precision != "f32" else "f32"
