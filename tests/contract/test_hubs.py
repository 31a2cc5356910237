"""Weights are fetched from hubs that speak the real ones' APIs, whatever happens on the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from families import TEXTS, write_qwen3, write_xlm_roberta
from hub import HubState, served_hub
from milvane.domain.errors import Conflict, NotFound, UpstreamRejected, UpstreamUnavailable
from milvane.domain.models import Lane, Purpose
from milvane.inference.engine import open_engine
from milvane.inference.hub_downloads import HubSource, pull_from_hub
from milvane.inference.hubs import HuggingFace, ModelScope
from milvane.inference.installed import find_set, installed_names
from milvane.inference.manifest import read_manifest
from milvane.inference.opening_hubs import open_hub_client
from milvane.inference.settings import InferenceSettings, Precision
from milvane.inference.weights import known_hash

NAME = "org/tiny"
SETTINGS = InferenceSettings(precision="f32", threads=1)


@dataclass
class Subject:
    """A hub that is up, and a folder to pull into."""

    state: HubState
    source: Callable[[], HubSource]
    weights_dir: Path

    @property
    def folder(self) -> Path:
        """Where the set will be."""
        return self.weights_dir / "org--tiny"

    def pull(self) -> list[tuple[int, int]]:
        """Pull it; gives what the progress callback was told."""
        told: list[tuple[int, int]] = []
        source = self.source()
        with source.client:
            pull_from_hub(source, self.folder, progress=lambda *step: told.append(step))
        return told


@pytest.fixture(params=["huggingface", "modelscope"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """Each hub, with a sentence model and much that is not to be fetched."""
    repository = tmp_path / "repository"
    write_qwen3(repository)
    (repository / "README.md").write_text("# Tiny")
    (repository / "modeling.py").write_text("raise RuntimeError('never run')")
    (repository / "onnx").mkdir()
    (repository / "onnx" / "model.onnx").write_bytes(b"0" * 5000)
    state = HubState(repository)
    kind = {"huggingface": HuggingFace, "modelscope": ModelScope}[request.param]
    with served_hub(state) as address:

        def source() -> HubSource:
            client = open_hub_client(token=state.token)
            return HubSource(kind(client, address), client, NAME)

        yield Subject(state, source, tmp_path / "weights")
    assert state.problems == []


def test_set_is_fetched_whole_and_nothing_else(subject: Subject) -> None:
    """What is needed to run the model is here, with its hashes; code and other formats are not."""
    told = subject.pull()
    manifest = read_manifest(subject.folder)
    assert manifest is not None
    names = {file.name for file in manifest.files}
    assert {"config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"} <= names
    assert sum(name.endswith(".safetensors") for name in names) == 2
    assert not [name for name in names if name.endswith((".py", ".onnx", ".md"))]
    for file in manifest.files:
        original = (subject.state.folder / file.name).read_bytes()
        assert (subject.folder / file.name).read_bytes() == original
    assert told[-1] == (manifest.size_bytes, manifest.size_bytes)
    assert told == sorted(told)
    assert installed_names(subject.weights_dir) == [NAME]


def test_connections_that_break_are_taken_up_again(subject: Subject) -> None:
    """A download that is cut many times asks for the rest each time, and is right in the end."""
    subject.state.cut_after_bytes, subject.state.cuts_left = 6_000, 12
    subject.pull()
    assert subject.state.cuts_left == 0
    ranges = [asked for _, asked in subject.state.requests if asked]
    assert len(ranges) >= 12
    assert all(int(asked.removeprefix("bytes=").removesuffix("-")) > 0 for asked in ranges)
    for shard in subject.folder.glob("*.safetensors"):
        assert shard.read_bytes() == (subject.state.folder / shard.name).read_bytes()


def test_next_pull_goes_on_where_the_last_one_ended(subject: Subject) -> None:
    """What was fetched before the hub went away is not fetched again."""
    large = subject.state.folder / "model-00001-of-00002.safetensors"
    subject.state.cut_after_bytes, subject.state.cuts_left = 9_000, 1
    subject.state.status_after_cuts = 503
    with pytest.raises(UpstreamUnavailable):
        subject.pull()
    assert not subject.folder.exists()
    parts = list(subject.weights_dir.rglob("*.part"))
    assert any(part.stat().st_size >= 9_000 for part in parts)
    (partial,) = subject.weights_dir.glob(".*.partial")
    done = {path.name for path in partial.glob("*.json")}
    assert "modules.json" in done
    subject.state.status = None
    subject.state.requests.clear()
    subject.pull()
    fetched = {path.split("/")[-1].split("FilePath=")[-1] for path, _ in subject.state.requests}
    assert not done & fetched
    assert "bytes=9000-" in [asked for _, asked in subject.state.requests]
    assert (subject.folder / large.name).read_bytes() == large.read_bytes()
    assert not list(subject.weights_dir.rglob("*.part"))


def test_hub_without_ranges_is_asked_for_all(subject: Subject) -> None:
    """A hub or a proxy that ignores ranges sends the file anew, and it is right all the same."""
    subject.state.cut_after_bytes, subject.state.cuts_left = 6_000, 2
    subject.state.ignores_ranges = True
    subject.pull()
    for shard in subject.folder.glob("*.safetensors"):
        assert shard.read_bytes() == (subject.state.folder / shard.name).read_bytes()


def test_other_bytes_are_refused(subject: Subject) -> None:
    """A file that is not what the hub says is not kept, and no folder appears."""
    subject.state.gives_other_bytes = True
    with pytest.raises(UpstreamRejected, match="not what the hub says"):
        subject.pull()
    assert not subject.folder.exists()
    subject.state.gives_other_bytes = False
    subject.pull()
    assert subject.folder.is_dir()


def test_present_set_is_not_fetched_again(subject: Subject) -> None:
    """A second pull asks what there is, and fetches nothing; a damaged file is fetched anew."""
    subject.pull()
    subject.state.requests.clear()
    subject.pull()
    assert all("resolve" not in path and "FilePath" not in path
               for path, _ in subject.state.requests)  # fmt: skip
    shard = next(subject.folder.glob("*.safetensors"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    subject.pull()
    assert shard.read_bytes() == content


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, NotFound), (403, NotFound), (404, NotFound), (500, UpstreamUnavailable),
     (429, UpstreamUnavailable), (418, UpstreamRejected)],
)  # fmt: skip
def test_refusals_are_told_apart(subject: Subject, status: int, kind: type[Exception]) -> None:
    """A name that is wrong, a hub that is busy, and one that makes no sense are three things."""
    subject.state.status = status
    with pytest.raises(kind, match=r"127\.0\.0\.1"):
        subject.pull()


def test_repository_that_is_no_sentence_model_is_refused(subject: Subject) -> None:
    """Nothing is fetched of a repository that could not be run."""
    (subject.state.folder / "tokenizer.json").unlink()
    with pytest.raises(UpstreamRejected, match=r"has no tokenizer\.json"):
        subject.pull()
    assert not list(subject.weights_dir.glob("org*"))


def test_path_that_leaves_the_folder_is_refused() -> None:
    """A hub cannot write where it likes."""
    from milvane.inference.choosing import choose_files
    from milvane.inference.hubs import HubFile

    files = [HubFile(name, 1) for name in ("config.json", "tokenizer.json", "model.safetensors")]
    chosen = choose_files([*files, HubFile("../../1_Pooling/config.json", 1)], NAME)
    assert {file.path for file in chosen} == {file.path for file in files}


def test_hub_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Without a network, the message says what can be done."""
    with open_hub_client(token=None) as client:
        source = HubSource(HuggingFace(client, "http://127.0.0.1:9"), client, NAME)
        with pytest.raises(UpstreamUnavailable, match="HF_ENDPOINT"):
            pull_from_hub(source, tmp_path / "set")


def test_token_goes_to_the_hub_alone(tmp_path: Path) -> None:
    """A private repository is read with the user's token, which its storage never sees."""
    write_qwen3(tmp_path / "repository")
    state = HubState(tmp_path / "repository", token="secret")
    with served_hub(state) as address:
        with open_hub_client(token=None) as client, pytest.raises(NotFound, match="HF_TOKEN"):
            pull_from_hub(HubSource(HuggingFace(client, address), client, NAME), tmp_path / "set")
        with open_hub_client(token="secret") as client:
            pull_from_hub(HubSource(HuggingFace(client, address), client, NAME), tmp_path / "set")
    assert state.problems == []


async def test_pulled_set_is_served(subject: Subject) -> None:
    """What was pulled is found by its name, checked, and embeds."""
    subject.pull()
    weights = find_set(NAME, subject.weights_dir)
    config = weights.files[0].name
    assert known_hash(subject.folder, config) == weights.files[0].sha256
    assert (weights.family, weights.width, weights.window_tokens) == ("qwen3", 48, 192)
    async with open_engine(weights, subject.weights_dir, SETTINGS) as engine:
        first = engine.fingerprint
        ids = await engine.tokenize(TEXTS, purpose=Purpose.DOCUMENT)
        vectors = await engine.embed(ids, dimension=32, lane=Lane.BULK)
    assert vectors.shape == (len(TEXTS), 32)
    async with open_engine(weights, subject.weights_dir, SETTINGS) as engine:
        assert engine.fingerprint == first


async def refuse(name: str, weights_dir: Path, match: str) -> None:
    """Check that a set is not served."""
    with pytest.raises(Conflict, match=match):
        async with open_engine(find_set(name, weights_dir), weights_dir, SETTINGS):
            pass


async def test_folder_by_path_is_served_until_it_changes(tmp_path: Path) -> None:
    """A sentence-transformers folder needs no pull; another pooling is noticed at the next load."""
    folder = tmp_path / "model"
    write_xlm_roberta(folder)
    weights = find_set(str(folder), tmp_path)
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        fingerprint = engine.fingerprint
    again = find_set(str(folder), tmp_path)
    assert again == weights
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(
        pooling.read_text()
        .replace('cls_token": true', 'cls_token": false')
        .replace('max_tokens": false', 'max_tokens": true')
    )
    await refuse(str(folder), tmp_path, "no longer give the vectors of their first load")
    (folder / "golden.json").unlink()
    async with open_engine(find_set(str(folder), tmp_path), tmp_path, SETTINGS) as engine:
        assert engine.fingerprint != fingerprint


@pytest.mark.parametrize("first", ["f32", "int4"])
async def test_fewer_bits_are_the_same_weights_with_other_vectors(
    tmp_path: Path, first: Precision
) -> None:
    """Each precision has its fingerprint, the space is one, and none is taken for other weights."""
    folder = tmp_path / "model"
    write_qwen3(folder, width=64, inner=128)
    weights, prints, spaces = find_set(str(folder), tmp_path), set(), set()
    for precision in (first, "f32", "int8", "int4"):
        settings = InferenceSettings(precision=precision, threads=1)
        async with open_engine(weights, tmp_path, settings) as engine:
            assert engine.facts.precision == precision
            prints.add(engine.fingerprint)
            spaces.add(engine.facts.space)
    assert len(prints) == 3
    assert len(spaces) == 1


async def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    """Cut files, numbers that are none, and a family that is not what its name says."""
    original = tmp_path / "model"
    write_xlm_roberta(original)

    def damaged(name: str) -> Path:
        return Path(shutil.copytree(original, tmp_path / name))

    cut = damaged("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    await refuse(str(cut.parent), tmp_path, "it is cut")
    nan = damaged("nan") / "model.safetensors"
    content = bytearray(nan.read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    nan.write_bytes(bytes(content))
    await refuse(str(nan.parent), tmp_path, "not finite")
    other = damaged("other")
    config = (other / "config.json").read_text().replace("xlm-roberta", "modernbert")
    (other / "config.json").write_text(config)
    await refuse(str(other), tmp_path, "of another family")
    pulled = tmp_path / "bge-m3"
    shutil.copytree(original, pulled)
    (pulled / "milvane.json").write_text(
        '{"hub": "huggingface", "repository": "BAAI/bge-m3", "revision": "1", "files": []}'
    )
    with pytest.raises(Conflict, match="should be"):
        find_set("bge-m3", tmp_path)


def test_missing_sets_name_the_cure(tmp_path: Path) -> None:
    """Who names weights that are not here is told what to run."""
    with pytest.raises(NotFound, match=r"milvane models pull qwen3-embedding-0\.6b"):
        find_set("qwen3-embedding-0.6b", tmp_path)
    with pytest.raises(NotFound, match="milvane models pull org/name"):
        find_set("org/name", tmp_path)
    with pytest.raises(NotFound, match="there is no folder"):
        find_set("./nowhere", tmp_path)
