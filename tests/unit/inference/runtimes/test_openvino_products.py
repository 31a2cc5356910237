"""Products of states and matrices of fewer bits."""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from milvane.inference.runtimes.openvino_constants import GROUP, Constants
from milvane.inference.runtimes.openvino_products import Products, multiplies_bytes
from milvane.inference.runtimes.stored import Stored, stored

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


def test_matrix_of_sixteen_bits_is_multiplied_where_it_lies() -> None:
    """In bf16, a checkpoint's own numbers enter the product: no wider copy of them is kept."""
    values = np.random.default_rng(3).standard_normal((32, 64)).astype(np.float32)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    entering = ov.opset13.parameter(ov.PartialShape([-1, 64]), ov.Type.f32)
    constants = Constants(ov, "bf16")
    product = Products(ov, constants, rounds_states=False).multiply(entering, Stored(upper, "bf16"))
    model = ov.Model([ov.opset13.result(product)], [entering], "products")
    [matrix] = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    assert matrix.get_element_type() == ov.Type.bf16
    assert [each.base is upper or each is upper for each in constants.lent] == [True]
    states = np.random.default_rng(4).standard_normal((5, 64)).astype(np.float32)
    found = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([states])[0]
    expected = states @ Stored(upper, "bf16").f32().T
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_token_of_nothing_stays_nothing() -> None:
    """A token whose states are all zero has no scale, and no number that is not finite."""
    (found,) = multiply(np.zeros((2, 64), np.float32), np.ones((16, 64), np.float32))
    np.testing.assert_array_equal(found, 0)


def test_processor_is_asked_for_the_largest_products() -> None:
    """Where bytes are said to be multiplied, the largest sum there is comes out right."""
    if multiplies_bytes(ov, ov.Core(), "CPU"):
        (found,) = multiply(np.full((1, 512), -3.0, np.float32), np.full((8, 512), 5.0, np.float32))
        np.testing.assert_allclose(found, -3.0 * 5.0 * 512, rtol=1e-4)


def test_matrix_on_a_grid_of_sixteen_steps_is_kept_exactly() -> None:
    """Four bits hold what they can, each group of a row by its own scale and zero."""
    random = np.random.default_rng(1)
    steps = random.integers(0, 16, (3, 5, GROUP)).astype(np.float32)
    steps[:, :, 0], steps[:, :, 1] = 0, 15
    zeros = random.integers(0, 16, (3, 5, 1)).astype(np.float32)
    matrix = ((steps - zeros) * 2.0 ** random.integers(-6, 3, (3, 5, 1))).reshape(3, 5 * GROUP)
    kept = Constants(ov, "int4").matrix(stored(matrix.astype(np.float32)))
    model = ov.Model([ov.opset13.result(kept)], [], "kept")
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    (found,) = ov.compile_model(model, "CPU", options)([]).values()
    np.testing.assert_allclose(found, matrix, rtol=1e-6)


def test_matrix_that_is_not_whole_groups_wide_has_eight_bits() -> None:
    """What does not divide into groups costs no more than in int8."""
    matrix = np.random.default_rng(2).standard_normal((8, GROUP + 1)).astype(np.float32)
    kept = Constants(ov, "int4").matrix(stored(matrix))
    model = ov.Model([ov.opset13.result(kept)], [], "kept")
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    (found,) = ov.compile_model(model, "CPU", options)([]).values()
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    assert (np.abs(found - matrix) <= largest / 254 * 1.001).all()
