"""Reading a network from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from checkpoints import HEADS, LAYERS, WIDTH, random_tensors, write_tiny_bert
from milvane.domain.errors import Conflict, Internal
from milvane.inference.runtimes.reading import read_network, reader_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good network."""
    write_tiny_bert(tmp_path)
    return tmp_path


def change_config(folder: Path, **changes: Any) -> None:
    """Overwrite fields of the network's description."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_tensors_are_read(folder: Path) -> None:
    """Shape, layers and tensors are those of the files; the token type is in the positions."""
    network = read_network(folder)
    tensors = random_tensors(0)
    assert network.head_width == WIDTH // HEADS
    assert len(network.layers) == LAYERS
    expected = tensors["encoder.layer.1.attention.self.key.bias"]
    np.testing.assert_array_equal(network.layers[1].attention.key.bias, expected)
    types = tensors["embeddings.token_type_embeddings.weight"]
    positions = tensors["embeddings.position_embeddings.weight"] + types[0]
    np.testing.assert_array_equal(network.positions, positions)


def test_prefixed_and_half_precision_tensors_are_read(folder: Path) -> None:
    """Names may begin with the family's, and numbers may be stored in 16 bits."""
    halves = {
        f"bert.{name}": values.astype(np.float16) for name, values in random_tensors(0).items()
    }
    save_file(halves, folder / "model.safetensors")
    assert read_network(folder).words.f32().dtype == np.float32


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "qwen3"}, {"model_type": "gpt2"}, {"hidden_act": "relu"},
        {"num_attention_heads": 5}, {"hidden_size": None},
        {"position_embedding_type": "relative_key"},
        {"num_hidden_layers": LAYERS + 1}, {"vocab_size": 3}, {"intermediate_size": 1},
    ],
)  # fmt: skip
def test_another_network_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    """What this family's code would run wrongly, it does not run."""
    change_config(folder, **changes)
    with pytest.raises(Conflict):
        read_network(folder)


def test_damaged_files_are_refused(folder: Path) -> None:
    """A file that is cut, empty or missing is named."""
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    for damaged in (content[: len(content) // 2], content[:5], b""):
        weights.write_bytes(damaged)
        with pytest.raises(Conflict, match="pull the weights again"):
            read_network(folder)
    weights.unlink()
    with pytest.raises(Conflict, match="pull the weights again"):
        read_network(folder)
    (folder / "config.json").unlink()
    with pytest.raises(Conflict, match=r"config\.json cannot be read"):
        read_network(folder)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(folder: Path, odd: float) -> None:
    """One bad number would spoil every vector: it is named instead."""
    tensors = random_tensors(0)
    tensors["encoder.layer.1.output.dense.weight"][3, 5] = odd
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(Conflict, match=r"encoder\.layer\.1\.output\.dense\.weight .* not finite"):
        read_network(folder)


def test_missing_tensor_is_named(folder: Path) -> None:
    """A tensor that should be there is named when it is not."""
    tensors = random_tensors(0)
    del tensors["encoder.layer.0.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(Conflict, match=r"no tensor encoder\.layer\.0\.output\.dense\.bias"):
        read_network(folder)


def test_network_is_read_again_only_as_long_as_its_files_stay(folder: Path) -> None:
    """What was written beside them later does not matter; another network in their place does."""
    read = reader_of(folder)
    (folder / "golden.json").write_text("{}")
    assert read().width == WIDTH
    save_file(random_tensors(1), folder / "model.safetensors")
    with pytest.raises(Internal, match="changed"):
        read()
