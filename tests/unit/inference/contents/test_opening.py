"""What is said where weights for images cannot be opened."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from milvane.domain.errors import Conflict, NotFound
from milvane.inference.contents.engine import open_content_engine, takes_media
from milvane.inference.contents.networks.device import processor_features
from milvane.inference.installed import find_set
from milvane.inference.settings import InferenceSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings of a CLIP, and something in the place of its tensors."""
    config = {"model_type": "clip", "projection_dim": 512}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(bytes(10))
    return tmp_path


async def test_missing_extra_is_named(folder: Path) -> None:
    """Weights for images without PyTorch end with the one command that helps."""
    if importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is here")
    weights = find_set(str(folder), folder)
    assert takes_media(weights)
    with pytest.raises(Conflict, match=r"pip install 'milvane\[torch\]'"):
        async with open_content_engine(weights, folder, InferenceSettings()):
            pass


def test_missing_weights_name_the_command(tmp_path: Path) -> None:
    """What was not pulled says how it is."""
    with pytest.raises(NotFound, match="milvane models pull qwen3-vl-embedding-2b"):
        find_set("qwen3-vl-embedding-2b", tmp_path)


def test_weights_that_are_not_what_they_are_called_are_refused(folder: Path) -> None:
    """A folder under the name of the catalogue must hold the family and width that it names."""
    pulled = folder / "weights" / "qwen3-vl-embedding-2b"
    pulled.mkdir(parents=True)
    manifest = {"hub": "huggingface", "repository": "Qwen/Qwen3-VL-Embedding-2B",
                "revision": "c", "files": []}  # fmt: skip
    (pulled / "milvane.json").write_text(json.dumps(manifest))
    (pulled / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(Conflict, match="is not qwen3-vl-embedding-2b"):
        find_set("qwen3-vl-embedding-2b", folder / "weights")


def test_features_of_the_processor_are_read(tmp_path: Path) -> None:
    """Linux lists them for each core; elsewhere nothing is known."""
    path = tmp_path / "cpuinfo"
    assert processor_features(path) == frozenset()
    path.write_text("processor : 0\nflags : fpu avx512_bf16 sse\n\nprocessor : 1\n")
    assert processor_features(path) == {"fpu", "avx512_bf16", "sse"}
