"""
What was measured once on a set of weights and ships with us: a rotation, and vectors to expect.

Kept in ``calibration/<name>-<version>/``; a set without such a folder runs without either.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from milvane.domain.catalogue import Weights
from milvane.domain.errors import Conflict
from milvane.inference.adapting import orthonormalize

SELF_TEST_TOLERANCE = 0.02
"""How far a component may be off: bf16 is within 0.002, other weights or pooling miss by 0.1."""
TOLERANCE_OF_INT4 = 0.06
"""The same where matrices have 4 bits, which is within 0.04."""


class GoldenText(BaseModel):
    """A text and the beginning of its vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    components: tuple[float, ...]
    """The first components of the network's own normalized vector, before any rotation."""


class _Golden(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: tuple[GoldenText, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known about a set of weights."""

    basis: NDArray[np.float32] | None
    """Orthonormal, shape ``(width, width)``, see `adapting`."""
    basis_sha256: str
    """Of the stored file; empty without one."""
    golden: tuple[GoldenText, ...]


def read_calibration(weights: Weights) -> Calibration:
    """Read what ships for a set of weights; empty if nothing does."""
    folder = Path(__file__).parent / "calibration" / f"{weights.name}-{weights.version}"
    basis, digest = _read_basis(folder / "basis.npy")
    golden = folder / "golden.json"
    texts = _Golden.model_validate_json(golden.read_bytes()).texts if golden.is_file() else ()
    return Calibration(basis, digest, texts)


def _read_basis(path: Path) -> tuple[NDArray[np.float32] | None, str]:
    if not path.is_file():
        return None, ""
    return orthonormalize(np.load(path, allow_pickle=False)), hashlib.sha256(
        path.read_bytes()
    ).hexdigest()


def check_golden(
    golden: tuple[GoldenText, ...],
    vectors: NDArray[np.float32],
    weights: Weights,
    *,
    precision: str,
) -> None:
    """
    Compare the vectors of the golden texts with what they should be.

    Args:
        golden: At least one text, with its components.

        vectors: Rows of length 1 in the same order, shape ``(texts, width)``.

        weights: Named in the error.

        precision: In which they were computed.

    Raises:
        Conflict: If one is too far off: the weights or the pooling are not the right ones.
    """
    tolerance = TOLERANCE_OF_INT4 if precision == "int4" else SELF_TEST_TOLERANCE
    for text, vector in zip(golden, vectors, strict=True):
        expected = np.array(text.components, np.float32)
        deviation = float(np.abs(vector[: len(expected)] - expected).max())
        if not deviation <= tolerance:
            raise Conflict(
                f"the weights {weights.name} give wrong vectors here ({text.text!r} is off by "
                f"{deviation:.3f}): run `milvane models pull {weights.name}`, and report it if "
                "that does not help"
            )
