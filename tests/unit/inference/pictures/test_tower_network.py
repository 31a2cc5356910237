"""The tower: read from its file, and run by OpenVINO as its numbers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from milvane.domain.errors import Conflict
from milvane.inference.pictures.network import TowerNetwork
from milvane.inference.pictures.tower import Block, Convolution, Tower, read_tower
from towers import SIDE, write_tower


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A tower with random numbers."""
    return tmp_path / write_tower(tmp_path, width=16, text_weights="none").file


def _convolve(states: NDArray[np.float64], step: Convolution) -> NDArray[np.float64]:
    reach, pad, stride = step.kernel.shape[-1], step.padding, step.stride
    padded = np.pad(states, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (reach, reach), axis=(1, 2))
    kept = windows[:, ::stride, ::stride]
    return np.einsum("chwij,ocij->ohw", kept, step.kernel) + step.bias[:, None, None]


def _reference(tower: Tower, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    states = (picture.astype(np.float64) / 127.5 - 1).transpose(2, 0, 1)
    for layer in tower.layers:
        if isinstance(layer, Block):
            inner = np.maximum(_convolve(states, layer.first), 0)
            states = np.maximum(states + _convolve(inner, layer.second), 0)
        else:
            states = np.maximum(_convolve(states, layer), 0)
    return np.asarray(tower.head @ states.mean((1, 2)) + tower.head_bias)


def test_network_computes_what_the_file_says(path: Path) -> None:
    """OpenVINO gives what the same numbers give when they are multiplied by hand."""
    tower = read_tower(path)
    pictures = [*np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)]
    found = TowerNetwork(tower, threads=1).forward(pictures)
    expected = np.stack([_reference(tower, picture) for picture in pictures])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_picture_does_not_depend_on_the_others_of_its_pass(path: Path) -> None:
    """The same picture gives the same vector alone and among others."""
    network = TowerNetwork(read_tower(path), threads=2)
    pictures = [*np.random.default_rng(2).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)]
    together = network.forward(pictures)
    alone = np.stack([network.forward([picture])[0] for picture in pictures])
    assert np.abs(together - alone).max() < 1e-5


def test_cells_are_those_of_the_last_map(path: Path) -> None:
    """A square of 32 pixels, made smaller by 4 and by 2, ends as 16 cells."""
    assert read_tower(path).cells == 16


@pytest.mark.parametrize("damage", ["missing", "text", "torn"])
def test_what_is_no_tower_is_refused(path: Path, damage: str) -> None:
    """A file that is missing, something else, or cut off, is named in the error."""
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"none" * 100 if damage == "text" else path.read_bytes()[:-50])
    with pytest.raises(Conflict, match=r"tower\.safetensors"):
        read_tower(path)
