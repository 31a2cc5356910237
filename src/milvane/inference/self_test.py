"""
Vectors that a pulled set gave when it was first loaded, compared at each load that follows.

Nobody outside knows what such a set should give, but it must go on giving the same: another
pooling, a file exchanged for another one, or a runtime that computes wrongly shows here. At the
first load only what no sound network does is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Conflict

LOG = logging.getLogger(__name__)

GOLDEN_NAME = "golden.json"
LEAST_COSINE = 0.98
"""Between two precisions on the same files; another pooling or another network is far below."""
LEAST_COSINE_OF_WHOLE = {"int8": 0.95, "int4": 0.85}
"""The same where matrices are integers in one of the two: `milvane models compare` measures it."""
MOST_ALIKE = 0.9999
"""Cosine of two different texts from which on a network tells nothing apart."""

SELF_TEST_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "When was artificial intelligence founded as an academic discipline?",
    "猫は一日の大半を眠って過ごす。",
    "Invoice 2024-117 is due within 30 days, net.",
)


def check_first(vectors: NDArray[np.float32], name: str) -> None:
    """
    Refuse vectors that no sound network gives.

    Args:
        vectors: Of different contents, rows of length 1.

        name: Of the weights, for the error.

    Raises:
        Conflict: If some are not finite, or different texts have the same one.
    """
    if not np.isfinite(vectors).all():
        raise Conflict(f"the weights {name} give numbers that are not finite: pull them again")
    cosines = vectors @ vectors.T - np.eye(len(vectors), dtype=np.float32)
    if cosines.max() > MOST_ALIKE:
        raise Conflict(
            f"the weights {name} give different contents the same vector: the files are damaged, "
            "or the folder says another pooling than the network was trained with"
        )


def check_same(
    vectors: NDArray[np.float32],
    folder: Path,
    name: str,
    *,
    precision: str,
    asked: Sequence[str] = SELF_TEST_TEXTS,
) -> None:
    """
    Compare with the first load, or remember this one as the first.

    Args:
        vectors: Rows of length 1.

        folder: Of the set; the vectors are kept in it.

        name: Of the weights, for the error.

        precision: In which they were computed.

        asked: What the vectors are of, for whoever reads the file.

    Raises:
        Conflict: If the vectors are not those of the first load.
    """
    check_first(vectors, name)
    path = folder / GOLDEN_NAME
    found = _read(path)
    if found is None:
        _write(path, vectors, asked, precision)
        return
    known, known_precision = found
    least = min(
        LEAST_COSINE_OF_WHOLE.get(each, LEAST_COSINE) for each in (precision, known_precision)
    )
    if known.shape == vectors.shape:
        cosines = np.einsum("ij,ij->i", known, vectors)
        if cosines.min() >= least:
            return
        change = f"a cosine of {cosines.min():.3f} to them"
    else:
        change = f"vectors of width {vectors.shape[1]} instead of {known.shape[1]}"
    raise Conflict(
        f"the weights {name} no longer give the vectors of their first load ({change}): a file or "
        f"the pooling in {folder} was changed. Pull them again; if the change was intended, "
        f"delete {path}, and make stored vectors anew"
    )


def _read(path: Path) -> tuple[NDArray[np.float32], str] | None:
    """Read the vectors of the first load, and in which precision that was."""
    try:
        content = json.loads(path.read_bytes())
        rows = np.array(content["vectors"], np.float32)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Conflict(f"{path} cannot be read: delete it, and start again") from error
    return (rows, str(content.get("precision", ""))) if rows.ndim == 2 else None


def _write(path: Path, vectors: NDArray[np.float32], asked: Sequence[str], precision: str) -> None:
    content = {"texts": asked, "precision": precision, "vectors": np.round(vectors, 5).tolist()}
    try:
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        LOG.debug("No vectors are kept in %s: %s", path, error)
