"""Whoever computes vectors for `serving` keeps the promise of its port, fake and real alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from checkpoints import install_tiny_bert
from milvane.domain.errors import DeadlineExceeded
from milvane.domain.models import Lane, Purpose
from milvane.inference.engine import open_engine
from milvane.inference.settings import InferenceSettings
from milvane.serving.ports import TextEngine
from milvane.testing.engines import HashingEngine

TEXTS = ["the cat sat on the mat", "the dog ran far away", "the cat sat on the dog", "猫", "a"]
LONG = "the cat sat on the mat and the dog ran far away " * 20
DIMENSIONS = [1, 8, 32, 33, 1024]


@dataclass
class Subject:
    """An engine, and how much its rows may be off."""

    engine: TextEngine
    tolerance: float


@pytest.fixture(params=["fake", "f32", "auto"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """The fake, and the real engine with a tiny network in each precision."""
    async with AsyncExitStack() as stack:
        if request.param == "fake":
            yield Subject(HashingEngine(), 0.0)
            return
        weights = install_tiny_bert(tmp_path)
        settings = InferenceSettings(precision=request.param, threads=2, max_pass_tokens=64)
        engine = await stack.enter_async_context(open_engine(weights, tmp_path, settings))
        # Components of length-1 rows of width 32 are about 0.2; bf16 keeps eight bits.
        yield Subject(engine, 1e-5 if engine.facts.precision == "f32" else 0.03)


@pytest.mark.parametrize("texts", [[], [""], [" "], TEXTS, ["a"] * 300, ["\0", "😀"]])
async def test_each_text_has_its_ids(subject: Subject, texts: list[str]) -> None:
    """There is one flat array of int32 per text, in order, whatever the text."""
    together = await subject.engine.tokenize(texts, purpose=Purpose.DOCUMENT)
    assert len(together) == len(texts)
    for text, ids in zip(texts, together, strict=True):
        (alone,) = await subject.engine.tokenize([text], purpose=Purpose.DOCUMENT)
        assert (ids.dtype, ids.ndim) == (np.int32, 1)
        np.testing.assert_array_equal(ids, alone)


async def test_ids_are_never_cut(subject: Subject) -> None:
    """A text twice as long has twice the ids, but for those of spaces at its ends."""
    once, twice = await subject.engine.tokenize([LONG, LONG + LONG], purpose=Purpose.DOCUMENT)
    assert 400 < 2 * len(once) - 2 <= len(twice) <= 2 * len(once)


@pytest.mark.parametrize("dimension", DIMENSIONS)
async def test_rows_have_the_dimension_and_length_one(subject: Subject, dimension: int) -> None:
    """Any dimension can be asked for, and rows have length 1 in each."""
    ids = await subject.engine.tokenize([*TEXTS, LONG, ""], purpose=Purpose.DOCUMENT)
    vectors = await subject.engine.embed(ids, dimension=dimension, lane=Lane.BULK)
    assert vectors.shape == (len(ids), dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


async def test_row_does_not_depend_on_what_else_is_asked(subject: Subject) -> None:
    """A text has the same row alone as among others, in either lane."""
    ids = await subject.engine.tokenize([*TEXTS, LONG, *TEXTS], purpose=Purpose.DOCUMENT)
    together = await subject.engine.embed(ids, dimension=32, lane=Lane.BULK)
    for row, text_ids in enumerate(ids):
        alone = await subject.engine.embed([text_ids], dimension=32, lane=Lane.INTERACTIVE)
        np.testing.assert_allclose(together[row], alone[0], atol=subject.tolerance, rtol=0)


async def test_texts_are_told_apart_also_by_their_end(subject: Subject) -> None:
    """Different texts have different rows, however late they differ."""
    texts = [*TEXTS, LONG, LONG + "cat", LONG + "dog"]
    ids = await subject.engine.tokenize(texts, purpose=Purpose.DOCUMENT)
    vectors = await subject.engine.embed(ids, dimension=64, lane=Lane.BULK)
    assert len(np.unique(vectors, axis=0)) == len(texts)


async def test_nothing_gives_no_rows(subject: Subject) -> None:
    """An empty request has an empty answer of the right width."""
    vectors = await subject.engine.embed([], dimension=7, lane=Lane.BULK)
    assert vectors.shape == (0, 7)


async def test_smaller_rows_are_the_beginning_of_larger_ones(subject: Subject) -> None:
    """Rows of any dimension begin alike, up to their length."""
    ids = await subject.engine.tokenize(TEXTS, purpose=Purpose.DOCUMENT)
    large = await subject.engine.embed(ids, dimension=64, lane=Lane.BULK)
    small = await subject.engine.embed(ids, dimension=16, lane=Lane.BULK)
    cut = large[:, :16] / np.linalg.norm(large[:, :16], axis=1, keepdims=True)
    np.testing.assert_allclose(small, cut, atol=max(subject.tolerance, 1e-5), rtol=0)


async def test_engine_has_a_fingerprint_that_stays(subject: Subject) -> None:
    """It can be told from others by a few characters, which work does not change."""
    before = subject.engine.fingerprint
    await subject.engine.tokenize(["a"], purpose=Purpose.QUERY, instruction="find what is alike")
    assert subject.engine.fingerprint == before
    assert 0 < len(before) <= 64


async def test_components_beyond_the_width_are_zero(subject: Subject) -> None:
    """A larger vector is one of the engine's width, filled up with zeros."""
    ids = await subject.engine.tokenize(TEXTS, purpose=Purpose.DOCUMENT)
    width = subject.engine.width
    exact = await subject.engine.embed(ids, dimension=width, lane=Lane.BULK)
    large = await subject.engine.embed(ids, dimension=width + 3, lane=Lane.BULK)
    np.testing.assert_allclose(large[:, :width], exact, atol=max(subject.tolerance, 1e-6), rtol=0)
    assert not large[:, width:].any()


async def test_request_without_time_is_refused(subject: Subject) -> None:
    """Nothing is computed for a caller whose deadline has passed."""
    ids = await subject.engine.tokenize(TEXTS, purpose=Purpose.DOCUMENT)
    with pytest.raises(DeadlineExceeded):
        await subject.engine.embed(ids, dimension=8, lane=Lane.BULK, time_left_s=0.0)
    vectors = await subject.engine.embed(
        ids, dimension=8, lane=Lane.BULK, tenant="somebody", time_left_s=60.0
    )
    assert len(vectors) == len(TEXTS)
