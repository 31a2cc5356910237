"""Products of states and matrices of fewer bits."""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from milvane.inference.runtimes.openvino_constants import Constants
from milvane.inference.runtimes.openvino_products import Products, multiplies_bytes
from milvane.inference.runtimes.stored import stored

Floats = NDArray[np.float32]


def multiply(states: Floats, *matrices: Floats) -> list[Floats]:
    """Multiply the same states with each matrix, all rounded to 8 bits."""
    entering = ov.opset13.parameter(ov.PartialShape([-1, states.shape[1]]), ov.Type.f32)
    products = Products(ov, Constants(ov, "int8"), rounds_states=True)
    results = [products.multiply(entering, stored(matrix)) for matrix in matrices]
    model = ov.Model([ov.opset13.result(each) for each in results], [entering], "products")
    compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return list(compiled([states]).values())


def test_product_is_near_that_of_floats_whatever_the_size_of_a_token() -> None:
    """Each token has a scale of its own, so a large one costs its neighbours nothing."""
    random = np.random.default_rng(0)
    states = random.standard_normal((6, 96)).astype(np.float32)
    states *= np.float32([[1e-4], [1], [1e4], [1], [3], [0.1]])
    matrices = [random.standard_normal((rows, 96)).astype(np.float32) for rows in (32, 80)]
    for matrix, found in zip(matrices, multiply(states, *matrices), strict=True):
        expected = states @ matrix.T
        error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert error.max() < 0.02


def test_token_of_nothing_stays_nothing() -> None:
    """A token whose states are all zero has no scale, and no number that is not finite."""
    (found,) = multiply(np.zeros((2, 64), np.float32), np.ones((16, 64), np.float32))
    np.testing.assert_array_equal(found, 0)


def test_processor_is_asked_for_the_largest_products() -> None:
    """Where bytes are said to be multiplied, the largest sum there is comes out right."""
    if multiplies_bytes(ov, ov.Core(), "CPU"):
        (found,) = multiply(np.full((1, 512), -3.0, np.float32), np.full((8, 512), 5.0, np.float32))
        np.testing.assert_allclose(found, -3.0 * 5.0 * 512, rtol=1e-4)
