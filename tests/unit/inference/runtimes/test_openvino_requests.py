"""Which request a pass gets, and that none is used again after it failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from milvane.inference.runtimes.openvino_requests import CompiledRequests


class Doubling:
    """A request of OpenVINO's that doubles its input, until it is told to fail."""

    def __init__(self) -> None:
        self.fails = False
        self.runs = 0
        self._given: Any = None

    def start_async(self, inputs: Any, *, share_inputs: bool) -> None:
        """Begin."""
        assert share_inputs
        [self._given] = inputs

    def wait(self) -> None:
        """End."""
        self.runs += 1
        if self.fails:
            raise RuntimeError("Failed to allocate")

    def get_output_tensor(self, index: int) -> SimpleNamespace:
        """Give the result; the memory is the request's own."""
        assert index == 0
        return SimpleNamespace(data=self._given * 2)


class Compiler:
    """Makes requests, unless it has been told to fail."""

    def __init__(self) -> None:
        self.made: list[Doubling] = []
        self.fails = False

    def __call__(self) -> list[Doubling]:
        """Make two."""
        if self.fails:
            raise MemoryError
        self.made += [Doubling(), Doubling()]
        return self.made[-2:]


@pytest.fixture
def compiler() -> Compiler:
    """What compiles the graph."""
    return Compiler()


NUMBERS: NDArray[np.float32] = np.arange(3, dtype=np.float32)


def test_requests_are_used_in_turn(compiler: Compiler) -> None:
    """Passes that follow each other share the requests, and nothing is compiled for them."""
    requests = CompiledRequests(compiler(), compiler)
    for _ in range(4):
        np.testing.assert_array_equal(requests.run(NUMBERS), NUMBERS * 2)
    assert [each.runs for each in compiler.made] == [2, 2]
    assert requests.idle == 2


def test_failure_makes_all_requests_new(compiler: Compiler) -> None:
    """Of a graph in which one pass failed, no request computes another one."""
    requests = CompiledRequests(compiler(), compiler)
    first, second = compiler.made
    first.fails = True
    with pytest.raises(RuntimeError, match="Failed to allocate"):
        requests.run(NUMBERS)
    for _ in range(3):
        np.testing.assert_array_equal(requests.run(NUMBERS), NUMBERS * 2)
    assert (first.runs, second.runs, len(compiler.made), requests.idle) == (1, 0, 4, 2)


def test_graph_that_cannot_be_compiled_is_tried_again(compiler: Compiler) -> None:
    """Without the memory to compile it either, passes fail until there is some again."""
    requests = CompiledRequests(compiler(), compiler)
    compiler.made[0].fails = compiler.fails = True
    with pytest.raises(RuntimeError):
        requests.run(NUMBERS)
    for _ in range(2):
        with pytest.raises(MemoryError):
            requests.run(NUMBERS)
    compiler.fails = False
    np.testing.assert_array_equal(requests.run(NUMBERS), NUMBERS * 2)
