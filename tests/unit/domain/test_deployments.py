"""Which weights serve a model."""

from __future__ import annotations

import pytest

from milvane.domain.catalogue import MODELS, SERVED_BY, deploy
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
    assert set(served) == {name for name, model in MODELS.items() if model.is_text_only}


@pytest.mark.parametrize("name", ["text-embedding-v9", "qwen3-vl-embedding", ""])
def test_what_weights_cannot_serve_is_refused(name: str) -> None:
    """Names that are no models, and models of images, are mistakes."""
    with pytest.raises(InvalidInput, match="deployments"):
        deploy({name: "bge-m3"})
