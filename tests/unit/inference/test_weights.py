"""Sets of weights on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from checkpoints import install_tiny_bert, write_tiny_bert
from milvane.domain.catalogue import ALL_MINILM_L6_V2, Weights
from milvane.domain.errors import Conflict, NotFound
from milvane.inference.weights import (
    STAMP_NAME,
    default_folder,
    find,
    folder_of,
    is_present,
    verify,
)


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """A small set that was put in place by hand."""
    return install_tiny_bert(tmp_path)


def flip_a_bit(path: Path) -> None:
    """Change a file without changing its size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/home/me/.cache/milvane/weights"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/milvane/weights"),
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache/milvane/weights"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/milvane/weights"),
    ],
)
def test_weights_are_kept_in_the_cache_folder(environment: dict[str, str], expected: str) -> None:
    """The user's cache folder is honoured if it is an absolute path, as its rule says."""
    assert default_folder(environment, Path("/home/me")) == Path(expected)


def test_missing_set_names_the_cure(tmp_path: Path) -> None:
    """Who lacks weights is told what to run."""
    with pytest.raises(NotFound, match="milvane models pull all-minilm-l6-v2"):
        find(ALL_MINILM_L6_V2, tmp_path)
    assert not is_present(ALL_MINILM_L6_V2, tmp_path)


def test_good_set_is_found_and_stamped(weights: Weights, tmp_path: Path) -> None:
    """A set put in place by hand is hashed once, and then remembered."""
    folder = find(weights, tmp_path)
    assert folder == tmp_path / "tiny-bert-1"
    assert (folder / STAMP_NAME).is_file()
    assert is_present(weights, tmp_path)
    assert find(weights, tmp_path) == folder


def test_unchanged_set_is_not_hashed_again(weights: Weights, tmp_path: Path) -> None:
    """Start is fast: a file of the same size and time as when it was hashed is believed."""
    path = find(weights, tmp_path) / "model.safetensors"
    before = path.stat()
    flip_a_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    find(weights, tmp_path)
    with pytest.raises(Conflict, match=r"model\.safetensors is missing or is not what"):
        verify(weights, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_changed_cut_or_missing_file_is_named(weights: Weights, tmp_path: Path, name: str) -> None:
    """Whatever happened to a file after it was stamped, it is not loaded."""
    path = find(weights, tmp_path) / name
    content = path.read_bytes()
    flip_a_bit(path)
    with pytest.raises(Conflict, match="milvane models pull tiny-bert"):
        find(weights, tmp_path)
    path.write_bytes(content[:-1])
    assert not is_present(weights, tmp_path)
    with pytest.raises(Conflict, match=name):
        find(weights, tmp_path)
    path.unlink()
    with pytest.raises(Conflict, match=name):
        find(weights, tmp_path)


@pytest.mark.parametrize("stamp", ["", "{}", '{"files": {}}', "[1]"])
def test_odd_stamp_is_no_proof(weights: Weights, tmp_path: Path, stamp: str) -> None:
    """A stamp that cannot be read leads to hashing, not to trust."""
    folder = folder_of(weights, tmp_path)
    write_tiny_bert(folder, seed=1)
    (folder / STAMP_NAME).write_text(stamp)
    with pytest.raises(Conflict):
        find(weights, tmp_path)
