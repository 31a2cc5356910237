"""Whoever weighs terms for `serving` keeps the promise of its port, fake and real alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from checkpoints import install_tiny_bert, tiny_weights, write_tiny_bert
from milvane.domain.errors import Conflict, NotFound
from milvane.domain.models import Purpose
from milvane.domain.vectors import SparseVector
from milvane.inference.encoders.recipe import read_recipe
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.vocabulary import read_lexicon
from milvane.inference.weights import folder_of
from milvane.serving.ports import TermWeigher
from milvane.testing.engines import CountingWeigher, HashingEngine

TEXTS = ["the cat sat on the mat", "the dog ran far away", "the cat sat on the dog"]


@dataclass
class Subject:
    """A weigher, and the texts as its own tokenizer sees them."""

    weigher: TermWeigher
    token_ids: list[np.ndarray]


@pytest.fixture(params=["fake", "real"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """The fake, and the real one over a tiny vocabulary."""
    if request.param == "fake":
        return Subject(
            CountingWeigher(), await HashingEngine().tokenize(TEXTS, purpose=Purpose.DOCUMENT)
        )
    weights = install_tiny_bert(tmp_path)
    folder = folder_of(weights, tmp_path)
    encoder = TextEncoder(folder, read_recipe(folder), window_tokens=16)
    return Subject(read_lexicon(weights, tmp_path), encoder.tokenize(TEXTS))


def product(one: SparseVector, other: SparseVector) -> float:
    """Multiply two sparse vectors, as an index does."""
    _, first, second = np.intersect1d(one.indexes, other.indexes, return_indices=True)
    return float(one.values[first] @ other.values[second])


@pytest.mark.parametrize("purpose", Purpose)
def test_vector_has_one_value_for_each_of_its_terms(subject: Subject, purpose: Purpose) -> None:
    """Terms are those of the text, ascending, each with a weight above 0 and a text."""
    for ids in subject.token_ids:
        vector = subject.weigher.weigh(ids, purpose)
        assert (vector.indexes.dtype, vector.values.dtype) == (np.uint32, np.float32)
        assert len(vector.indexes) == len(vector.values) == len(set(vector.indexes.tolist()))
        assert set(vector.indexes.tolist()) <= set(ids.tolist())
        assert (np.diff(vector.indexes.astype(np.int64)) > 0).all()
        assert (vector.values > 0).all()
        assert len(subject.weigher.token_texts(vector.indexes)) == len(vector.indexes)


def test_text_without_tokens_has_no_terms(subject: Subject) -> None:
    """Nothing in, nothing out."""
    vector = subject.weigher.weigh(np.empty(0, np.int32), Purpose.DOCUMENT)
    assert (len(vector.indexes), len(vector.values)) == (0, 0)
    assert subject.weigher.token_texts(vector.indexes) == []


def test_texts_that_share_more_words_are_closer(subject: Subject) -> None:
    """The query's words decide: the document that holds more of them scores higher."""
    query = subject.weigher.weigh(subject.token_ids[0], Purpose.QUERY)
    _, far, near = (subject.weigher.weigh(ids, Purpose.DOCUMENT) for ids in subject.token_ids)
    assert product(query, near) > product(query, far)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    """The message says how to get them."""
    write_tiny_bert(tmp_path / "elsewhere")
    with pytest.raises(NotFound, match="milvane models pull tiny-bert"):
        read_lexicon(tiny_weights(tmp_path / "elsewhere"), tmp_path)


def test_tokenizer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The message names the file."""
    draft = tmp_path / ".draft"
    write_tiny_bert(draft)
    (draft / "tokenizer.json").write_text("{}")
    weights = tiny_weights(draft)
    draft.rename(folder_of(weights, tmp_path))
    with pytest.raises(Conflict, match=r"tokenizer\.json is not a tokenizer"):
        read_lexicon(weights, tmp_path)
