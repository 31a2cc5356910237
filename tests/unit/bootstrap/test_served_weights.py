"""Which weights a server runs, in which order, and what fits behind which model."""

from __future__ import annotations

from pathlib import Path

import pytest

from colours import ColourEngine
from milvane.bootstrap.engines import Engines, check_fit
from milvane.bootstrap.weights import TEXT_WEIGHTS, choose_weights, names_to_load
from milvane.domain.catalogue import PICTURE_WEIGHTS, WeightsName
from milvane.domain.errors import Conflict
from milvane.domain.models import ModelName
from milvane.settings import Settings
from milvane.testing.engines import HashingEngine

V4, VL = ModelName("text-embedding-v4"), ModelName("qwen3-vl-embedding")
OTHER = WeightsName("other")


def test_weights_that_see_come_after_the_texts_that_they_go_with() -> None:
    """Also where those serve no model themselves."""
    assert names_to_load({VL: PICTURE_WEIGHTS, V4: TEXT_WEIGHTS}) == [TEXT_WEIGHTS, PICTURE_WEIGHTS]
    assert names_to_load({VL: PICTURE_WEIGHTS, V4: OTHER}) == [OTHER, TEXT_WEIGHTS, PICTURE_WEIGHTS]
    assert names_to_load({VL: OTHER, V4: OTHER}) == [OTHER]


def test_without_their_texts_nothing_sees(tmp_path: Path) -> None:
    """An operator who replaced the text model and never fetched it has a server that starts."""
    inference = {"weights_dir": tmp_path}
    replaced = Settings(inference=inference, deployments={"*": "org/other"})
    served = choose_weights(replaced)
    assert PICTURE_WEIGHTS not in served.values()
    assert set(served.values()) == {"org/other"}
    usual = choose_weights(Settings(inference=inference))
    assert usual[V4] == TEXT_WEIGHTS


def test_models_of_images_want_weights_for_images() -> None:
    """The reverse is refused too; both by name."""
    engines = Engines({TEXT_WEIGHTS: HashingEngine()}, contents={OTHER: ColourEngine()})
    check_fit({V4: TEXT_WEIGHTS, VL: OTHER}, engines)
    with pytest.raises(Conflict, match="qwen3-vl-embedding takes images"):
        check_fit({VL: TEXT_WEIGHTS}, engines)
    with pytest.raises(Conflict, match="text-embedding-v4 takes texts alone"):
        check_fit({V4: OTHER}, engines)
