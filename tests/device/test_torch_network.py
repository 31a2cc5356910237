"""The PyTorch runtime keeps the promise of the port, on whatever device this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from families import QUERIES, TEXTS, WRITERS, byte_pairs, write_sentence_transformer
from families import write_tokenizer as write_tokenizer_files
from milvane.domain.errors import Conflict
from milvane.domain.models import Lane, Purpose
from milvane.inference.encoders.recipe import read_recipe
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.engine import open_engine
from milvane.inference.installed import find_set
from milvane.inference.runtimes.opening import open_runtime
from milvane.inference.runtimes.reading import read_head
from milvane.inference.runtimes.torch_network import TorchNetwork
from milvane.inference.settings import InferenceSettings
from milvane.inference.windowing import normalize_rows

pytestmark = [pytest.mark.filterwarnings("default")]  # those of PyTorch are not ours

REFERENCE = Path(__file__).parent.parent / "reference" / "families.npz"
FAMILIES = sorted(set(WRITERS) - {"gte"})
"""transformers runs gte-multilingual's own layout with code from the hub only."""


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny checkpoint of each family that transformers knows."""
    WRITERS[request.param](tmp_path / request.param)
    return tmp_path / request.param


@pytest.fixture(params=["f32", "auto"])
def runtime(request: pytest.FixtureRequest, folder: Path) -> Iterator[TorchNetwork]:
    """It on this machine's device."""
    head = read_head(folder, read_recipe(folder))
    opened = TorchNetwork(folder, head, precision=request.param)
    yield opened
    opened.close()


def test_vectors_are_those_of_the_reference(runtime: TorchNetwork, folder: Path) -> None:
    """Documents and queries have the vectors that sentence-transformers gives them."""
    encoder = TextEncoder(folder, read_recipe(folder), 200)
    least = 0.9999 if runtime.precision == "f32" else 0.999
    asked = ((TEXTS, Purpose.DOCUMENT, "documents"), (QUERIES, Purpose.QUERY, "queries"))
    for texts, purpose, key in asked:
        inputs = [encoder.frame(ids) for ids in encoder.tokenize(texts, purpose=purpose)]
        lengths = np.array([len(ids) for ids in inputs], np.int32)
        padded = np.full((len(inputs), lengths.max() + 2), 5, np.int32)
        for row, ids in enumerate(inputs):
            padded[row, : len(ids)] = ids
        rows = runtime.forward(padded, lengths)
        with np.load(REFERENCE) as stored:
            expected = stored[f"{folder.name}/{key}"]
            has_weights = f"{folder.name}/weights0" in stored
        vectors = normalize_rows(rows[:, : runtime.width].copy())
        assert np.einsum("ij,ij->i", vectors, expected).min() >= least
        assert runtime.weighs_tokens == has_weights
        assert rows.shape[1] == runtime.width + (padded.shape[1] if has_weights else 0)


def write_distilbert(folder: Path) -> None:
    """Write a network of a family that has no light path."""
    tokenizer = byte_pairs("[CLS]", "[SEP]")
    config = transformers.DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(), dim=48, n_layers=2, n_heads=4, hidden_dim=96,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.DistilBertModel(config).save_pretrained(folder)
    write_tokenizer_files(folder, tokenizer, pad_token="[PAD]", cls_token="[CLS]")
    write_sentence_transformer(folder, "mean_tokens")


async def test_family_without_a_light_path_is_served(tmp_path: Path) -> None:
    """What OpenVINO's path does not know, PyTorch runs, through the whole engine."""
    write_distilbert(tmp_path / "distilbert")
    weights = find_set(str(tmp_path / "distilbert"), tmp_path)
    async with open_engine(weights, tmp_path, InferenceSettings(precision="f32")) as engine:
        assert engine.facts.runtime.startswith("PyTorch")
        ids = await engine.tokenize(TEXTS, purpose=Purpose.DOCUMENT)
        vectors = await engine.embed(ids, dimension=48, lane=Lane.BULK)
    network = transformers.AutoModel.from_pretrained(tmp_path / "distilbert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "distilbert")
    for text, vector in zip(TEXTS, vectors, strict=True):
        features = tokenizer([text], return_tensors="pt")
        features.pop("token_type_ids", None)
        with torch.inference_mode():
            mean = network(**features).last_hidden_state[0].mean(dim=0).numpy()
        assert float(vector @ (mean / np.linalg.norm(mean))) >= 0.9999


def test_device_out_of_memory_is_said_so(folder: Path) -> None:
    """A pass that does not fit fails as one that does not fit, which the queue then splits."""
    head = read_head(folder, read_recipe(folder))
    runtime = TorchNetwork(folder, head, precision="f32")

    def full(**_: object) -> object:
        raise torch.OutOfMemoryError("tried to allocate 40 GiB")

    runtime._network.forward = full
    with pytest.raises(MemoryError, match="out of memory"):
        runtime.forward(np.zeros((1, 4), np.int32), np.array([4], np.int32))


def test_damaged_numbers_are_refused(tmp_path: Path) -> None:
    """A number that is none would spoil every vector: it is named instead."""
    folder = tmp_path / "qwen3"
    WRITERS["qwen3"](folder)
    shard = next(iter(sorted(folder.glob("model-*.safetensors"))))
    content = bytearray(shard.read_bytes())
    content[-2:] = b"\xc0\x7f"
    shard.write_bytes(bytes(content))
    with pytest.raises(Conflict, match="not finite"):
        TorchNetwork(folder, read_head(folder, read_recipe(folder)), precision="f32")


def test_light_path_stays_where_there_is_no_accelerator(folder: Path) -> None:
    """PyTorch on a CPU does not take the place of what is faster there."""
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has an accelerator")
    opened = open_runtime(folder, read_recipe(folder), threads=1, precision="f32")
    assert opened.name.startswith("OpenVINO")
    opened.close()
