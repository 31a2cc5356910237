"""The fake engine keeps the promise of the port it stands in for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvane.domain.models import Lane, Purpose
from milvane.serving.ports import TextEngine
from milvane.testing.engines import EmbedCall, HashingEngine

TEXTS = ["a", "a b", "b a", "a  b", " a", "中文 文本", "\n", "😀"]


def as_port(engine: HashingEngine) -> TextEngine:
    """Let the type checker compare the fake with the port."""
    return engine


@given(texts=st.lists(st.text(), max_size=5))
async def test_tokens_are_int32_and_one_array_per_text(texts: list[str]) -> None:
    """Every text has its own array of ids, in order, whatever else is asked."""
    together = await as_port(HashingEngine()).tokenize(texts, purpose=Purpose.DOCUMENT)
    assert len(together) == len(texts)
    for text, ids in zip(texts, together, strict=True):
        (alone,) = await HashingEngine().tokenize([text], purpose=Purpose.DOCUMENT)
        assert ids.dtype == np.int32
        assert ids.ndim == 1
        np.testing.assert_array_equal(ids, alone)
        assert bool(len(ids)) == bool(text)


@pytest.mark.parametrize("dimension", [1, 2, 384, 2048])
async def test_rows_have_length_one_and_do_not_depend_on_their_neighbours(dimension: int) -> None:
    """A row has length 1 and is the same alone as among others, in each dimension."""
    engine = HashingEngine()
    ids = await engine.tokenize(TEXTS, purpose=Purpose.DOCUMENT)
    vectors = await engine.embed(ids, dimension=dimension, lane=Lane.BULK)
    assert vectors.shape == (len(TEXTS), dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for row in range(len(TEXTS)):
        alone = await engine.embed([ids[row]], dimension=dimension, lane=Lane.INTERACTIVE)
        np.testing.assert_array_equal(vectors[row], alone[0])


async def test_different_texts_have_different_vectors() -> None:
    """Order, spaces and script all tell texts apart; equal texts are not told apart."""
    engine = HashingEngine()
    ids = await engine.tokenize([*TEXTS, *TEXTS], purpose=Purpose.DOCUMENT)
    vectors = await engine.embed(ids, dimension=64, lane=Lane.BULK)
    assert len(np.unique(vectors, axis=0)) == len(TEXTS)
    np.testing.assert_array_equal(vectors[: len(TEXTS)], vectors[len(TEXTS) :])


async def test_no_texts_give_no_rows() -> None:
    """Nothing in, nothing out, with the width that was asked for."""
    vectors = await HashingEngine().embed([], dimension=7, lane=Lane.BULK)
    assert vectors.shape == (0, 7)


async def test_work_is_counted() -> None:
    """Tokenizing costs nothing; each embedded text and its lane are on record."""
    engine = HashingEngine()
    ids = await engine.tokenize(["a", "b"], purpose=Purpose.DOCUMENT)
    assert (engine.embedded_texts, engine.calls) == (0, [])
    await engine.embed(ids, dimension=3, lane=Lane.INTERACTIVE)
    assert engine.embedded_texts == 2
    assert engine.calls == [EmbedCall(texts=2, dimension=3, lane=Lane.INTERACTIVE)]


async def test_engine_that_is_told_the_purpose_tells_texts_apart_by_it() -> None:
    """The purpose, or the caller's own words in its place, become part of each text."""
    engine = HashingEngine(is_told=True)
    ids = [
        (await engine.tokenize(["a"], purpose=purpose, instruction=words))[0].tolist()
        for words in (None, "find")
        for purpose in Purpose
    ]
    assert ids[0] != ids[1]
    assert ids[2] == ids[3] not in ids[:2]
    assert engine.takes_instruction(Purpose.QUERY)
    assert not HashingEngine().takes_instruction(Purpose.QUERY)
    plain = [await HashingEngine().tokenize(["a"], purpose=purpose) for purpose in Purpose]
    np.testing.assert_array_equal(*plain)
