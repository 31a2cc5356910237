"""Each model family gives what its own implementation gives, from the files of a hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from families import INSTRUCTION, QUERIES, TEXTS, WRITERS, write_qwen3, write_xlm_roberta
from milvane.domain.errors import Conflict
from milvane.domain.models import Purpose
from milvane.inference.encoders.recipe import Recipe, read_recipe
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.runtimes.network import Head, Network
from milvane.inference.runtimes.numpy_network import NumpyNetwork
from milvane.inference.runtimes.openvino_network import OpenvinoNetwork
from milvane.inference.runtimes.port import Runtime
from milvane.inference.runtimes.reading import read_head, read_network
from milvane.inference.windowing import normalize_rows

Floats = NDArray[np.float32]
REFERENCE = Path(__file__).parent.parent / "reference"
"""Made by `make_families.py` with torch 2.13, transformers 5.23, sentence-transformers 6.2."""

LEAST_COSINE = {"f32": 0.9999, "bf16": 0.999}

MAKERS: dict[str, Callable[[Network, Head], Runtime]] = {
    "numpy": NumpyNetwork,
    "f32": lambda network, head: OpenvinoNetwork(network, head, threads=1, precision="f32"),
    "auto": lambda network, head: OpenvinoNetwork(network, head, threads=2, precision="auto"),
}


@dataclass(frozen=True)
class Subject:
    """One family, run in one way."""

    family: str
    recipe: Recipe
    encoder: TextEncoder
    runtime: Runtime
    expected: dict[str, NDArray[np.generic]]

    def run(self, token_ids: list[NDArray[np.int32]]) -> Floats:
        """Run windows in one padded batch; padding holds an id that must not matter."""
        inputs = [self.encoder.frame(ids) for ids in token_ids]
        lengths = np.array([len(ids) for ids in inputs], np.int32)
        padded = np.full((len(inputs), int(lengths.max()) + 3), 5, np.int32)
        for row, ids in enumerate(inputs):
            padded[row, : len(ids)] = ids
        return self.runtime.forward(padded, lengths)

    def embed(self, texts: tuple[str, ...], purpose: Purpose, told: str | None = None) -> Floats:
        """Embed texts that fit into a window."""
        ids = self.encoder.tokenize(texts, purpose=purpose, instruction=told)
        return normalize_rows(self.run(ids)[:, : self.runtime.width].copy())

    def check(self, vectors: Floats, key: str) -> None:
        """Compare with the reference by the worst cosine."""
        cosines = np.einsum("ij,ij->i", vectors, self.expected[key])
        assert cosines.min() >= LEAST_COSINE[self.runtime.precision]


@pytest.fixture(scope="module", params=WRITERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint of each family."""
    written = tmp_path_factory.mktemp("families") / request.param
    WRITERS[request.param](written)
    return written


@pytest.fixture(scope="module", params=MAKERS)
def subject(request: pytest.FixtureRequest, folder: Path) -> Iterator[Subject]:
    """It, in each runtime."""
    recipe = read_recipe(folder)
    runtime = MAKERS[request.param](read_network(folder), read_head(folder, recipe))
    encoder = TextEncoder(folder, recipe, recipe.window_tokens or runtime.max_tokens)
    with np.load(REFERENCE / "families.npz") as stored:
        expected = {
            key.removeprefix(f"{folder.name}/"): stored[key]
            for key in stored.files
            if key.startswith(f"{folder.name}/")
        }
    yield Subject(folder.name, recipe, encoder, runtime, expected)
    runtime.close()


def test_documents_have_the_vectors_of_the_reference(subject: Subject) -> None:
    """Tokens, prompts, network and pooling together give what sentence-transformers gives."""
    subject.check(subject.embed(TEXTS, Purpose.DOCUMENT), "documents")


def test_queries_have_the_vectors_of_the_reference(subject: Subject) -> None:
    """The same for queries, which some models see behind a prompt."""
    vectors = subject.embed(QUERIES, Purpose.QUERY)
    subject.check(vectors, "queries")
    documents = subject.embed(QUERIES, Purpose.DOCUMENT)
    has_prompt = bool(subject.recipe.prompts.get(Purpose.QUERY))
    assert has_prompt == bool(np.abs(vectors - documents).max() > 0.05)


def test_instructions_take_the_place_of_the_usual_one(subject: Subject) -> None:
    """A model that follows instructions follows the caller's; others do as always."""
    vectors = subject.embed(QUERIES, Purpose.QUERY, INSTRUCTION)
    subject.check(vectors, "told" if "told" in subject.expected else "queries")
    assert subject.encoder.takes_instruction(Purpose.QUERY) == ("told" in subject.expected)
    assert not subject.encoder.takes_instruction(Purpose.DOCUMENT)


def test_tokens_are_weighed_as_by_the_reference(subject: Subject) -> None:
    """Where a learned head weighs terms, every token has the reference's weight, padding none."""
    assert subject.runtime.weighs_tokens == ("weights0" in subject.expected)
    if not subject.runtime.weighs_tokens:
        return
    ids = subject.encoder.tokenize(TEXTS)
    rows = subject.run(ids)[:, subject.runtime.width :]
    tolerance = 1e-3 if subject.runtime.precision == "f32" else 0.06
    for index, row in enumerate(rows):
        framed = subject.encoder.frame(ids[index])
        np.testing.assert_array_equal(framed, subject.expected[f"tokens{index}"])
        expected = subject.expected[f"weights{index}"]
        np.testing.assert_allclose(row[: len(framed)], expected, atol=tolerance, rtol=0.02)
        assert (row >= 0).all()
    assert rows.max() > 0.5


def test_row_does_not_depend_on_its_batch(subject: Subject) -> None:
    """A text has the same vector alone as among longer ones."""
    together = subject.embed(TEXTS, Purpose.DOCUMENT)
    alone = np.concatenate([subject.embed((text,), Purpose.DOCUMENT) for text in TEXTS])
    tolerance = 1e-5 if subject.runtime.precision == "f32" else 0.03
    np.testing.assert_allclose(together, alone, atol=tolerance, rtol=0)


def test_head_in_a_file_of_pytorch_is_the_same(tmp_path: Path) -> None:
    """A sparse head is read from PyTorch's own format, without PyTorch."""
    write_xlm_roberta(tmp_path / "safe")
    shutil.copytree(tmp_path / "safe", tmp_path / "torch")
    (tmp_path / "torch" / "sparse_linear.safetensors").unlink()
    shutil.copy(REFERENCE / "sparse_linear.pt", tmp_path / "torch" / "sparse_linear.pt")
    safe, other = (read_network(tmp_path / name).token_head for name in ("safe", "torch"))
    assert safe is not None
    assert other is not None
    np.testing.assert_array_equal(safe.weight.f32(), other.weight.f32())
    (tmp_path / "torch" / "sparse_linear.pt").write_bytes(b"PK\x03\x04 but cut")
    with pytest.raises(Conflict, match="pull the weights again"):
        read_network(tmp_path / "torch")


def test_eight_bits_stay_near(folder: Path) -> None:
    """Matrices kept in 8 bits cost less than a hundredth of the cosine, in every family."""
    recipe = read_recipe(folder)
    network = read_network(folder)
    runtime = OpenvinoNetwork(network, read_head(folder, recipe), threads=1, precision="int8")
    encoder = TextEncoder(folder, recipe, recipe.window_tokens or runtime.max_tokens)
    with np.load(REFERENCE / "families.npz") as stored:
        expected = {"documents": stored[f"{folder.name}/documents"]}
    subject = Subject(folder.name, recipe, encoder, runtime, expected)
    vectors = subject.embed(TEXTS, Purpose.DOCUMENT)
    cosines = np.einsum("ij,ij->i", vectors, expected["documents"])
    assert 0.99 <= cosines.min() < 0.999999
    runtime.close()


def test_four_bits_stay_near_in_less_memory(tmp_path: Path) -> None:
    """Matrices kept in 4 bits cost more than those in 8, and vectors are still the network's."""
    write_qwen3(tmp_path, width=64, inner=128)
    recipe = read_recipe(tmp_path)
    found = {}
    for precision in ("f32", "int8", "int4"):
        runtime = OpenvinoNetwork(
            read_network(tmp_path), read_head(tmp_path, recipe), threads=1, precision=precision
        )
        assert runtime.precision == precision
        encoder = TextEncoder(tmp_path, recipe, recipe.window_tokens or runtime.max_tokens)
        subject = Subject("qwen3", recipe, encoder, runtime, {})
        found[precision] = subject.embed(TEXTS, Purpose.DOCUMENT)
        runtime.close()
    eight, four = (
        float(np.einsum("ij,ij->i", found[each], found["f32"]).min()) for each in ("int8", "int4")
    )
    assert 0.85 <= four < eight < 1
