"""Which weights serve a model."""

from __future__ import annotations

import pytest

from milvane.domain.catalogue import (
    HUB_WEIGHTS,
    MODELS,
    PULLED_FOR,
    SERVED_BY,
    deploy,
    weights_to_pull,
)
from milvane.domain.errors import InvalidInput
from milvane.domain.models import ModelName

V3, V4 = ModelName("text-embedding-v3"), ModelName("text-embedding-v4")


def test_nothing_chosen_changes_nothing() -> None:
    """Without deployments the catalogue's own weights serve."""
    assert deploy({}) == SERVED_BY


def test_a_chosen_model_is_served_by_what_was_chosen() -> None:
    """One model changes, the others stay."""
    assert deploy({"text-embedding-v4": "bge-m3"}) == {**SERVED_BY, V4: "bge-m3"}


def test_all_models_can_be_chosen_at_once() -> None:
    """A star stands for every model of texts, and a name beside it goes first."""
    served = deploy({"text-embedding-v4": "qwen3-embedding-0.6b", "*": "bge-m3"})
    assert served[V4] == "qwen3-embedding-0.6b"
    assert served[V3] == "bge-m3"
    assert {
        name for name, weights in served.items() if weights in ("bge-m3", "qwen3-embedding-0.6b")
    } == {name for name, model in MODELS.items() if model.is_text_only}


@pytest.mark.parametrize("name", ["text-embedding-v9", "qwen3-vl-embedding", ""])
def test_what_weights_cannot_serve_is_refused(name: str) -> None:
    """Names that are no models, and models of images behind weights for texts, are mistakes."""
    with pytest.raises(InvalidInput, match="deployments"):
        deploy({name: "bge-m3"})


def test_models_of_images_are_served_by_what_takes_them() -> None:
    """Weights that take images serve models that do, and no model of texts."""
    served = deploy({"qwen3-vl-embedding": "qwen3-vl-embedding-8b", "ops-m2-encoder": "org/some"})
    assert served[ModelName("qwen3-vl-embedding")] == "qwen3-vl-embedding-8b"
    assert served[ModelName("ops-m2-encoder")] == "org/some"
    with pytest.raises(InvalidInput, match="takes texts alone"):
        deploy({"text-embedding-v4": "qwen3-vl-embedding-2b"})
    with pytest.raises(InvalidInput, match="takes images"):
        deploy({"qwen3-vl-embedding": "all-minilm-l6-v2"})


def test_a_model_names_the_weights_of_its_own_family() -> None:
    """A contract's name is enough to fetch what it is about; the size may be chosen."""
    model = ModelName("qwen3-vl-embedding")
    assert weights_to_pull(model) == "qwen3-vl-embedding-2b"
    assert weights_to_pull(model, "8B") == "qwen3-vl-embedding-8b"
    assert weights_to_pull(V4) is None
    with pytest.raises(InvalidInput, match="32B"):
        weights_to_pull(model, "32B")


@pytest.mark.parametrize("model", PULLED_FOR)
def test_weights_of_a_family_have_what_its_contract_takes(model: ModelName) -> None:
    """What is pulled for a model takes every kind of content that the model does."""
    for name in PULLED_FOR[model]:
        assert HUB_WEIGHTS[name].modalities >= MODELS[model].modalities
