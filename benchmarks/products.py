"""What this machine reaches with bare matrix products: the bound of every network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = ((512, 384, 1536), (1024, 384, 1536), (1024, 1024, 3072), (1024, 2048, 2048))
"""Rows, and both sides of a matrix: those of small and large networks."""

_CHAIN = 8
"""Products in one pass, so that its fixed cost does not count."""


def product_rates(precision: str, threads: int) -> list[Callable[[], float]]:
    """
    Prepare products of each size in OpenVINO, one stream for each thread.

    Returns:
        For each of `SIZES`, what runs them for a while and gives operations per second.
    """
    import openvino as ov

    return [_rate(ov, precision, threads, *size) for size in SIZES]


def _rate(
    ov: Any, precision: str, threads: int, rows: int, width: int, inner: int
) -> Callable[[], float]:
    ops, random = ov.opset13, np.random.default_rng(1)
    inputs = ops.parameter(ov.PartialShape([rows, width]), ov.Type.f32)
    states = inputs
    for place in range(_CHAIN):
        shape = (inner, width) if place % 2 == 0 else (width, inner)
        matrix = random.standard_normal(shape, np.float32) * np.float32(0.02)
        states = ops.matmul(states, ops.constant(matrix), False, True)  # noqa: FBT003
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "ENABLE_CPU_PINNING": False,
    }
    # One number comes back: the last states themselves would be copied.
    result = ops.result(ops.reduce_sum(states, ops.constant(np.array([0, 1]))))
    compiled = ov.Core().compile_model(ov.Model([result], [inputs], "products"), "CPU", options)
    requests = [compiled.create_infer_request() for _ in range(threads)]
    values = random.standard_normal((rows, width), np.float32)
    passes = max(2, int(4e10 / (2 * rows * width * inner * _CHAIN)))

    def run() -> float:
        def repeat(request: Any) -> None:
            for _ in range(passes):
                request.infer((values,), share_inputs=True)

        workers = [threading.Thread(target=repeat, args=(each,)) for each in requests]
        begun = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took_s = time.perf_counter() - begun
        return 2 * rows * width * inner * _CHAIN * passes * threads / took_s

    return run
