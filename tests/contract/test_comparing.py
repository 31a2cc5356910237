"""What a precision costs is measured on the network's own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from families import write_qwen3, write_xlm_roberta
from milvane.domain.errors import NotFound
from milvane.inference.comparing import COMPARED_TEXTS, compare_precisions, compare_vectors
from milvane.inference.installed import find_set


def test_fewer_bits_are_further_away(tmp_path: Path) -> None:
    """The reference is as near to itself as can be, 8 bits are near, 4 bits less so."""
    folder = tmp_path / "model"
    write_qwen3(folder, width=64, inner=128)
    weights = find_set(str(folder), tmp_path)
    same, eight, four = compare_precisions(
        weights, tmp_path, ("f32", "int8", "int4"), reference="f32", threads=1
    )
    assert [each.precision for each in (same, eight, four)] == ["f32", "int8", "int4"]
    assert same.least_cosine == pytest.approx(1, abs=1e-5)
    assert same.neighbours_kept == 1
    assert 0.9 < four.least_cosine < eight.least_cosine < 0.99999
    assert four.least_cosine <= four.median_cosine <= 1


def test_own_texts_may_be_longer_than_a_window(tmp_path: Path) -> None:
    """They are cut, and compared as cut."""
    folder = tmp_path / "model"
    write_xlm_roberta(folder)
    texts = ["word " * 3000, "one", "two and more", *COMPARED_TEXTS]
    weights = find_set(str(folder), tmp_path)
    [found] = compare_precisions(weights, tmp_path, ["int8"], reference="f32", texts=texts)
    assert 0.95 < found.least_cosine < 1


def test_lost_neighbour_is_counted() -> None:
    """A text whose nearest other text changed counts, even where cosines are high."""
    known = np.eye(4, dtype=np.float32)
    known[1] = [0.8, 0.6, 0, 0]
    known[3] = [0, 0, 0.6, 0.8]
    vectors = known.copy()
    vectors[1] = [0.4, 0.3, np.sqrt(0.75), 0]
    found = compare_vectors("int4", vectors, known)
    assert found.neighbours_kept < 1
    assert found.least_cosine == pytest.approx(0.5, abs=1e-6)
    assert found.median_cosine == pytest.approx(1)


def test_weights_that_are_not_here_are_named(tmp_path: Path) -> None:
    """The message says how to get them."""
    with pytest.raises(NotFound, match="milvane models pull bge-m3"):
        find_set("bge-m3", tmp_path)
