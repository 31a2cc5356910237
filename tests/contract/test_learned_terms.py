"""Weights with a learned sparse head make both kinds of vectors in one pass."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from families import TEXTS, WRITERS
from milvane.domain.models import Lane, ModelName, Output, Purpose
from milvane.inference.engine import open_engine
from milvane.inference.installed import find_set
from milvane.inference.settings import InferenceSettings
from milvane.inference.vocabulary import read_lexicon
from milvane.serving.embedding import EmbeddingService, EmbedRequest
from milvane.serving.settings import ServingSettings

REFERENCE = Path(__file__).parent.parent / "reference" / "families.npz"
SPECIAL = {0, 1, 2, 3}
"""`<s>`, `<pad>`, `</s>` and `<unk>`."""
SETTINGS = InferenceSettings(precision="f32", threads=1)
V4 = ModelName("text-embedding-v4")


def expected_terms(family: str, index: int) -> dict[int, float]:
    """Weigh a text's terms as FlagEmbedding does, from the reference's weights of its tokens."""
    terms: dict[int, float] = defaultdict(float)
    with np.load(REFERENCE) as stored:
        tokens = stored[f"{family}/tokens{index}"]
        weights = stored[f"{family}/weights{index}"]
    for token, weight in zip(tokens.tolist(), weights.tolist(), strict=True):
        if token not in SPECIAL and weight > 0:
            terms[token] = max(terms[token], weight)
    return terms


@pytest.mark.parametrize("family", ["bge-m3", "gte"])
async def test_service_gives_the_terms_of_the_reference(family: str, tmp_path: Path) -> None:
    """Terms and weights are the reference's, in one pass for both kinds of vectors."""
    folder = tmp_path / family
    WRITERS[family](folder)
    weights = find_set(str(folder), tmp_path)
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        assert engine.weighs_terms
        service = EmbeddingService(
            {weights.name: engine},
            ServingSettings(),
            weighers={weights.name: read_lexicon(weights, tmp_path)},
            term_engines={weights.name: engine},
            served_by={V4: weights.name},
        )
        both = frozenset({Output.DENSE, Output.SPARSE})
        asked = EmbedRequest(model=V4, texts=[*TEXTS, TEXTS[0]], dimension=64, outputs=both)
        embedded = await service.embed(asked)
        passes_inputs = engine.counts.inputs
        alone = await service.embed(
            EmbedRequest(model=V4, texts=TEXTS, outputs=frozenset({Output.SPARSE}))
        )
        ids = await engine.tokenize(TEXTS, purpose=Purpose.DOCUMENT)
        dense = await engine.embed(ids, dimension=64, lane=Lane.BULK)
    assert passes_inputs == len(TEXTS)
    np.testing.assert_allclose(embedded.vectors[:-1], dense, atol=1e-6)
    assert alone.vectors.shape == (len(TEXTS), 0)
    for index in range(len(TEXTS)):
        expected = expected_terms(family, index)
        for vector in (embedded.sparse[index], alone.sparse[index]):
            found = dict(zip(vector.indexes.tolist(), vector.values.tolist(), strict=True))
            assert found == pytest.approx(expected, abs=1e-3, rel=1e-3)
    assert any(expected_terms(family, index) for index in range(len(TEXTS)))
    assert embedded.terms is not None
    texts = embedded.terms.token_texts(embedded.sparse[0].indexes)
    assert set(texts) <= {"▁the", "▁cat", "▁sat", "▁on", "▁mat"}


async def test_words_of_a_prompt_are_no_terms(tmp_path: Path) -> None:
    """Weights that are told in words what a query is for count the query's own terms only."""
    folder = tmp_path / "qwen3"
    WRITERS["qwen3"](folder)
    weights = find_set(str(folder), tmp_path)
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        lexicon = read_lexicon(weights, tmp_path)
        service = EmbeddingService(
            {weights.name: engine},
            ServingSettings(),
            weighers={weights.name: lexicon},
            served_by={V4: weights.name},
        )
        asked = EmbedRequest(
            model=V4, texts=["the cat"], purpose=Purpose.QUERY, outputs=frozenset({Output.SPARSE})
        )
        embedded = await service.embed(asked)
    assert set(lexicon.token_texts(embedded.sparse[0].indexes)) == {"the", "Ġcat"}
