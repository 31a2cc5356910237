"""Every runtime keeps the promise of `Runtime`; NumPy in f32 is the reference for their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from checkpoints import POSITIONS, VOCABULARY, WIDTH, write_tiny_bert
from milvane.domain.errors import Conflict
from milvane.inference.encoders.recipe import read_recipe
from milvane.inference.runtimes.network import Head, Network
from milvane.inference.runtimes.numpy_network import NumpyNetwork
from milvane.inference.runtimes.opening import open_runtime
from milvane.inference.runtimes.openvino_network import OpenvinoNetwork
from milvane.inference.runtimes.port import Runtime
from milvane.inference.runtimes.reading import read_network
from replicas import Net, ReplicaServer, opened

Ids = NDArray[np.int32]

HEAD = Head("mean")

MAKERS: dict[str, Callable[[Network], Runtime]] = {
    "numpy": lambda network: NumpyNetwork(network, HEAD),
    "openvino-f32": lambda network: OpenvinoNetwork(network, HEAD, threads=2, precision="f32"),
    "openvino-auto": lambda network: OpenvinoNetwork(network, HEAD, threads=1, precision="auto"),
    "openvino-int8": lambda network: OpenvinoNetwork(network, HEAD, threads=2, precision="int8"),
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A small random network."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    write_tiny_bert(folder)
    return read_network(folder)


@pytest.fixture(scope="module", params=[*MAKERS, "remote"])
def runtime(
    request: pytest.FixtureRequest, network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    """Each runtime with the same network."""
    if request.param in MAKERS:
        with closing(MAKERS[request.param](network)) as here:
            yield here
        return
    net = Net(tmp_path_factory.mktemp("remote"))
    net.weights = replace(net.weights, window_tokens=POSITIONS)
    with ReplicaServer(net) as one, ReplicaServer(net) as two, opened(net, one, two) as elsewhere:
        yield elsewhere


def tolerance(runtime: Runtime) -> float:
    """How far components of about 1 may be off over two layers; 8 bits round every product."""
    return {"f32": 2e-5, "bf16": 0.1, "int8": 0.3}[runtime.precision]


def draw_batch(seed: int, lengths: list[int], tokens: int) -> tuple[Ids, Ids]:
    """Draw ids; padding holds ids as well, which must not matter."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, len(VOCABULARY), (len(lengths), tokens)).astype(np.int32)
    return ids, np.array(lengths, np.int32)


batches = st.lists(st.integers(1, POSITIONS), min_size=1, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lengths=batches, spare=st.integers(0, 4), seed=st.integers(0, 1000))
def test_runtime_gives_the_numbers_of_the_reference(
    runtime: Runtime, network: Network, lengths: list[int], spare: int, seed: int
) -> None:
    """Every batch of every shape gives what plain NumPy gives, within the precision."""
    ids, counts = draw_batch(seed, lengths, min(POSITIONS, max(lengths) + spare))
    vectors = runtime.forward(ids, counts)
    assert vectors.shape == (len(lengths), WIDTH)
    assert vectors.dtype == np.float32
    expected = NumpyNetwork(network, HEAD).forward(ids, counts)
    np.testing.assert_allclose(vectors, expected, atol=tolerance(runtime), rtol=0)


def test_row_does_not_depend_on_its_neighbours_or_padding(runtime: Runtime) -> None:
    """A row is the same alone and unpadded as in a padded batch, within the precision."""
    lengths = [1, 7, 16, 3]
    ids, counts = draw_batch(1, lengths, 20)
    together = runtime.forward(ids, counts)
    for row, length in enumerate(lengths):
        alone = runtime.forward(ids[row : row + 1, :length].copy(), counts[row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], atol=tolerance(runtime), rtol=0)


def test_result_is_the_callers_own(runtime: Runtime) -> None:
    """A later pass does not change what an earlier one returned."""
    ids, counts = draw_batch(2, [5, 5], 8)
    first = runtime.forward(ids, counts)
    kept = first.copy()
    for seed in range(3, 9):
        runtime.forward(*draw_batch(seed, [5, 5], 8))
    np.testing.assert_array_equal(first, kept)


def test_passes_from_many_threads_do_not_mix(runtime: Runtime) -> None:
    """Passes that run at once give what each gives alone."""
    work = [draw_batch(seed, [1 + seed % 8, 8], 8) for seed in range(24)]
    expected = [runtime.forward(*batch) for batch in work]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda batch: runtime.forward(*batch), work * 3))
    for result, want in zip(results, expected * 3, strict=True):
        np.testing.assert_allclose(result, want, atol=1e-5, rtol=0)


def test_runtime_describes_itself(runtime: Runtime) -> None:
    """What people and the engine must know is there."""
    assert runtime.name
    assert runtime.precision in {"bf16", "f32", "int8"}
    assert runtime.width == WIDTH
    assert runtime.max_tokens == POSITIONS
    assert runtime.concurrency >= 1
    assert runtime.threads >= 1


def test_one_pass_runs_on_each_core(network: Network) -> None:
    """As many passes may run at once as there are threads."""
    assert OpenvinoNetwork(network, HEAD, threads=2, precision="f32").concurrency == 2


def test_lone_inputs_take_all_cores_once_that_is_compiled(network: Network) -> None:
    """A lone input is answered at once after the start, and by all cores a little later."""
    runtime = OpenvinoNetwork(network, HEAD, threads=2, precision="f32")
    ids, counts = draw_batch(5, [7], 8)
    at_once = runtime.forward(ids, counts)
    runtime.finish()
    np.testing.assert_allclose(runtime.forward(ids, counts), at_once, atol=1e-5, rtol=0)
    runtime.close()


def test_bf16_is_given_or_refused(network: Network) -> None:
    """An explicit precision is never quietly replaced."""
    has_bf16 = OpenvinoNetwork(network, HEAD, threads=1, precision="auto").precision == "bf16"
    if has_bf16:
        assert OpenvinoNetwork(network, HEAD, threads=1, precision="bf16").precision == "bf16"
    else:
        with pytest.raises(Conflict, match="no native bf16"):
            OpenvinoNetwork(network, HEAD, threads=1, precision="bf16")


def test_fastest_runtime_is_opened(tmp_path: Path) -> None:
    """A folder with a network is run by OpenVINO, on as many cores as asked for."""
    write_tiny_bert(tmp_path)
    runtime = open_runtime(tmp_path, read_recipe(tmp_path), threads=1, precision="f32")
    assert runtime.name.startswith("OpenVINO")
    assert runtime.threads == 1
