"""Which files of a repository are fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from milvane.domain.errors import UpstreamRejected
from milvane.inference.choosing import choose_files, memory_bytes
from milvane.inference.hubs import HubFile
from milvane.inference.installed import folder_name, installed_names
from milvane.inference.manifest import Manifest

ALWAYS = ["config.json", "tokenizer.json"]


def chosen(*names: str) -> set[str]:
    """Choose among files of these names."""
    files = [HubFile(name, len(name)) for name in (*ALWAYS, *names)]
    return {file.path for file in choose_files(files, "org/name")} - set(ALWAYS)


def test_network_is_fetched_once() -> None:
    """Of the same network in several formats the safest and smallest to read is taken."""
    single, torch = "model.safetensors", "pytorch_model.bin"
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = "model.safetensors.index.json"
    assert chosen(single, torch, "onnx/model.onnx", "tf_model.h5") == {single}
    assert chosen(*shards, index, torch) == {*shards, index}
    assert chosen(torch, *shards) == {torch}
    assert chosen(torch, "sparse_linear.pt", "colbert_linear.pt") == {torch, "sparse_linear.pt"}


@pytest.mark.parametrize(
    "name",
    ["modeling.py", "README.md", ".gitattributes", "imgs/a.png", "1_Pooling/x.py", "../config.json",
     "a/1_Pooling/config.json", "openvino/openvino_model.bin", "model.safetensors.py"],
)  # fmt: skip
def test_what_is_not_read_is_not_fetched(name: str) -> None:
    """Neither code nor pictures nor other formats, wherever they lie."""
    assert chosen("model.safetensors", name) == {"model.safetensors"}


def test_modules_of_sentence_transformers_are_fetched() -> None:
    """Pooling, projections, prompts and lengths belong to the model."""
    modules = {
        "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
        "2_Dense/model.safetensors", "config_sentence_transformers.json",
        "sentence_bert_config.json",
    }  # fmt: skip
    assert chosen("model.safetensors", *modules) == {"model.safetensors", *modules}


def test_small_files_come_first() -> None:
    """What is wrong with a repository shows before gigabytes are fetched."""
    files = [HubFile("model.safetensors", 10**9), HubFile("config.json", 600)]
    order = choose_files([*files, HubFile("tokenizer.json", 10**6)], "org/name")
    assert [file.path for file in order] == ["config.json", "tokenizer.json", "model.safetensors"]


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_repository_without_a_part_is_refused(missing: str) -> None:
    """The message says what is not there."""
    names = {"config.json", "tokenizer.json", "model.safetensors"} - {missing}
    with pytest.raises(UpstreamRejected, match=missing):
        choose_files([HubFile(name, 1) for name in names], "org/name")


def test_estimate_of_memory_is_above_the_files() -> None:
    """Serving takes more than the files do."""
    assert memory_bytes(1_000_000_000) > 1_000_000_000


@pytest.mark.parametrize("name", ["org/name", "bge-m3", "org/name--with--dashes", "o/n.5-x_y"])
def test_folders_are_called_by_their_names(tmp_path: Path, name: str) -> None:
    """What was pulled is listed by the name that it was pulled by."""
    folder = tmp_path / folder_name(name)
    folder.mkdir()
    Manifest(hub="huggingface", repository=name, revision="1", files=()).write(folder)
    (tmp_path / ".org--other.partial").mkdir()
    Manifest(hub="huggingface", repository=name, revision="1", files=()).write(
        tmp_path / ".org--other.partial"
    )
    assert installed_names(tmp_path) == [name]


def test_settings_of_pictures_are_fetched_where_there_are_pictures() -> None:
    """What says how images are prepared comes along; a sentence model fetches nothing of it."""
    pictures = {"preprocessor_config.json", "video_preprocessor_config.json", "merges.txt"}
    assert chosen("model.safetensors", *pictures) == {"model.safetensors", *pictures}
    assert chosen("model.safetensors", "merges.txt", "vocab.json") == {"model.safetensors"}


def test_tokenizer_of_siglip_may_be_a_sentencepiece_file() -> None:
    """Its first version has no other; a sentence model's is not read from there."""
    names = {"config.json", "model.safetensors", "spiece.model"}
    files = [HubFile(name, len(name)) for name in (*names, "preprocessor_config.json")]
    assert {file.path for file in choose_files(files, "org/name")} > names
    with pytest.raises(UpstreamRejected, match=r"tokenizer\.json"):
        choose_files(files[:3], "org/name")


def test_checkpoint_of_m2_encoder_is_fetched_with_its_tokenizer() -> None:
    """Its repository has no settings: the tensors and the tokenizer are known by their names."""
    names = ("m2_encoder_1B.ckpt", "vlmo/tokenizer/sp.model", "vlmo/tokenizer/tokenization_glm.py")
    files = [HubFile(name, len(name)) for name in names]
    assert {file.path for file in choose_files(files, "org/name")} == set(names[:2])
    with pytest.raises(UpstreamRejected, match=r"sp\.model"):
        choose_files(files[:1], "org/name")
