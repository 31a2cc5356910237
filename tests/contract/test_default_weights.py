"""The default weights, as they are served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.errors import Conflict
from milvane.domain.models import Lane, Purpose
from milvane.inference.calibration import check_golden, read_calibration
from milvane.inference.engine import Engine, open_engine
from milvane.inference.settings import InferenceSettings
from weights import default_weights_dir

REFERENCE = Path(__file__).parent.parent / "reference" / "all-minilm-l6-v2.npz"
"""Texts and their vectors in f32, computed by PyTorch 2.13 and transformers 5.23."""

SENTENCE = "Vectors of long texts take their whole length into account. "


@pytest.fixture(params=["auto", "f32"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """The default engine, in the precision of this machine and in f32."""
    settings = InferenceSettings(precision=request.param)
    async with open_engine(ALL_MINILM_L6_V2, default_weights_dir(), settings) as opened:
        yield opened


async def embed(engine: Engine, texts: list[str], dimension: int = 384) -> NDArray[np.float32]:
    """Embed texts in one request."""
    return await engine.embed(
        await engine.tokenize(texts, purpose=Purpose.DOCUMENT), dimension=dimension, lane=Lane.BULK
    )


async def test_vectors_are_those_of_the_reference(engine: Engine) -> None:
    """Every vector has a cosine of at least 0.9999 to that of another implementation."""
    with np.load(REFERENCE) as reference:
        texts, expected = reference["texts"].tolist(), reference["vectors"]
    basis = read_calibration(ALL_MINILM_L6_V2).basis
    assert basis is not None
    vectors = await embed(engine, texts)
    cosines = np.einsum("ij,ij->i", vectors, expected @ basis.T)
    assert cosines.min() >= 0.9999


async def test_vector_does_not_depend_on_its_batch(engine: Engine) -> None:
    """Alone or among others, a text has the same vector: cosine at least 0.9999 (f32: 0.999999)."""
    texts = [f"{'word ' * (index % 40)}number {index}" for index in range(120)]
    together = await embed(engine, texts, 1024)
    picked = [0, 1, 39, 40, 77, 119]
    alone = np.concatenate([await embed(engine, [texts[index]], 1024) for index in picked])
    cosines = np.einsum("ij,ij->i", together[picked], alone)
    assert cosines.min() >= (0.9999 if engine.facts.precision == "bf16" else 0.999999)


async def test_long_text_is_read_to_its_end(engine: Engine) -> None:
    """The last sentence of a text of many windows changes its vector, but only a little."""
    text = SENTENCE * 60
    vectors = await embed(engine, [text + "Cats sleep all day.", text + "Engines need oil.", text])
    cosines = vectors @ vectors.T
    assert cosines[0, 1] < 0.9995
    assert cosines[0, 1] > 0.9


async def test_meaning_is_kept_in_each_dimension(engine: Engine) -> None:
    """A question is nearest to its answer, also in few and in many dimensions."""
    texts = [
        "When was artificial intelligence founded?",
        "Artificial intelligence was founded as an academic discipline in 1956.",
        "Cats sleep for most of the day.",
        "The engine of the car needs oil.",
    ]
    for dimension in (64, 256, 384, 1024, 2048):
        vectors = await embed(engine, texts, dimension)
        assert int((vectors[1:] @ vectors[0]).argmax()) == 0


def test_self_test_refuses_wrong_vectors() -> None:
    """Vectors of other weights, or none, do not pass for those of the default ones."""
    golden = read_calibration(ALL_MINILM_L6_V2).golden
    assert golden
    drawn = np.random.default_rng(0).standard_normal((len(golden), 384)).astype(np.float32)
    wrong = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    for vectors in (wrong, wrong * np.float32(np.nan)):
        with pytest.raises(Conflict, match="wrong vectors"):
            check_golden(golden, vectors, ALL_MINILM_L6_V2, precision="int4")


def test_shipped_rotation_is_orthonormal() -> None:
    """The rotation keeps cosines to the rounding of f32."""
    basis = read_calibration(ALL_MINILM_L6_V2).basis
    assert basis is not None
    np.testing.assert_allclose(basis @ basis.T, np.eye(384), atol=2e-6)
