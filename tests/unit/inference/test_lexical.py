"""Sparse vectors: BM25 over a tokenizer's terms."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milvane.domain.models import Purpose
from milvane.domain.vectors import SparseVector
from milvane.inference.lexical import (
    AVERAGE_TERMS,
    LENGTH_SHARE,
    QUERY_SATURATION,
    SATURATION,
    Lexicon,
    estimate_rarity,
)

WORDS = [f"word{number}" for number in range(1_000)]
TEXTS = ["[PAD]", "[UNK]", "<s>", ".", "##!", "a", "7", "\u4e2d", "the", "##ing", *WORDS]
LEXICON = Lexicon(TEXTS)
FIRST_WORD = TEXTS.index("word0")

token_ids = st.lists(st.integers(0, len(TEXTS) - 1), max_size=60)


def ids(*texts: str) -> np.ndarray:
    """Name tokens by their texts."""
    return np.array([TEXTS.index(text) for text in texts], np.int32)


def product(one: SparseVector, other: SparseVector) -> float:
    """Multiply two sparse vectors, as an index does."""
    values = dict(zip(other.indexes.tolist(), other.values.tolist(), strict=True))
    pairs = zip(one.indexes.tolist(), one.values.tolist(), strict=True)
    return sum(value * values.get(index, 0.0) for index, value in pairs)


def bm25(query: list[int], document: list[int]) -> float:
    """Score a document term by term, as the textbook does."""
    rarity = estimate_rarity(TEXTS)
    length = sum(1 for token in document if rarity[token] > 0)
    score = 0.0
    for term in set(query) & set(document):
        asked, held = query.count(term), document.count(term)
        norm = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * length / AVERAGE_TERMS)
        score += (
            float(rarity[term])
            * (held * (SATURATION + 1) / (held + norm))
            * (asked * (QUERY_SATURATION + 1) / (asked + QUERY_SATURATION))
        )
    return score


@given(query=token_ids, document=token_ids)
@example(query=[FIRST_WORD] * 3, document=[FIRST_WORD] * 5 + [0, 1, 3])
def test_product_is_the_bm25_score(query: list[int], document: list[int]) -> None:
    """A query's vector times a document's is what BM25 gives the pair."""
    asked = LEXICON.weigh(np.array(query, np.int32), Purpose.QUERY)
    held = LEXICON.weigh(np.array(document, np.int32), Purpose.DOCUMENT)
    assert product(asked, held) == pytest.approx(bm25(query, document), rel=1e-4)


@given(token_ids=token_ids, purpose=st.sampled_from(Purpose))
def test_vector_is_well_formed(token_ids: list[int], purpose: Purpose) -> None:
    """Indexes rise and fit into 32 bits, values are above 0, and only terms are there."""
    vector = LEXICON.weigh(np.array(token_ids, np.int32), purpose)
    assert vector.indexes.dtype == np.uint32
    assert vector.values.dtype == np.float32
    assert vector.indexes.tolist() == sorted(set(vector.indexes.tolist()))
    assert set(vector.indexes.tolist()) <= set(token_ids)
    assert (vector.values > 0).all()
    assert LEXICON.token_texts(vector.indexes) == [TEXTS[index] for index in vector.indexes]


def test_what_is_no_term_weighs_nothing() -> None:
    """Special tokens and punctuation have no part; a text of nothing else has no terms."""
    vector = LEXICON.weigh(ids("[PAD]", "[UNK]", "<s>", ".", "##!"), Purpose.DOCUMENT)
    assert len(vector.indexes) == 0
    assert len(vector.values) == 0


def test_rare_terms_weigh_more() -> None:
    """Along the vocabulary, terms become rarer; a function word is worth little."""
    rarity = estimate_rarity(TEXTS)
    words = rarity[FIRST_WORD:]
    assert (np.diff(words) > 0).all()
    assert rarity[TEXTS.index("the")] < words[500] / 4
    assert rarity[TEXTS.index("a")] < rarity[TEXTS.index("\u4e2d")]


def test_repetition_saturates_and_length_dilutes() -> None:
    """Each further occurrence adds less, and a term of a long document counts less."""
    once, twice, often = (
        LEXICON.weigh(ids(*["word5"] * count), Purpose.DOCUMENT).values[0] for count in (1, 2, 9)
    )
    assert once < twice < often < once * (SATURATION + 1)
    alone = LEXICON.weigh(ids("word5"), Purpose.DOCUMENT).values[0]
    among = dict(
        zip(*_lists(LEXICON.weigh(ids("word5", *WORDS[:99]), Purpose.DOCUMENT)), strict=True)
    )[TEXTS.index("word5")]
    assert among < alone


def _lists(vector: SparseVector) -> tuple[list[int], list[float]]:
    return vector.indexes.tolist(), vector.values.tolist()


def test_query_and_document_differ() -> None:
    """Length and saturation are for documents; a query of one term has its root of rarity."""
    query = LEXICON.weigh(ids("word5"), Purpose.QUERY)
    document = LEXICON.weigh(ids("word5"), Purpose.DOCUMENT)
    rarity = float(estimate_rarity(TEXTS)[TEXTS.index("word5")])
    assert query.values[0] == pytest.approx(math.sqrt(rarity))
    assert query.values[0] < document.values[0]


def test_empty_vocabulary_has_no_terms() -> None:
    """A vocabulary without any term is weighed all the same."""
    assert estimate_rarity(["[PAD]", "."]).tolist() == [0, 0]
    assert estimate_rarity([]).tolist() == []
