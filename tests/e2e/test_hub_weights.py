"""From a hub to an answer, as a person does it: pull, deploy, serve, ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from families import TEXTS, write_xlm_roberta
from hub import HubState, served_hub
from milvane.testing.servers import MilvaneProcess

NAME = "org/tiny"
REFERENCE = Path(__file__).parent.parent / "reference" / "families.npz"


def milvane(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program and wait for its end."""
    return subprocess.run(
        [sys.executable, "-m", "milvane.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | {"COLUMNS": "200"} | environment,
    )


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings that keep weights apart, and let them serve every model."""
    return {
        "MILVANE_INFERENCE__WEIGHTS_DIR": str(tmp_path / "weights"),
        "MILVANE_DEPLOYMENTS": json.dumps({"*": NAME}),
    }


def test_pulled_weights_serve_a_model(tmp_path: Path, environment: dict[str, str]) -> None:
    """Weights of a hub are fetched by name, listed, and answer for a model in both kinds."""
    write_xlm_roberta(tmp_path / "repository")
    with served_hub(HubState(tmp_path / "repository")) as address:
        pulled = milvane("models", "pull", NAME, **environment, HF_ENDPOINT=address)
    assert pulled.returncode == 0, pulled.stderr
    told = " ".join(pulled.stderr.split())  # a narrow terminal breaks lines anywhere
    assert "of memory" in told
    assert "here and checked" in told
    listed = milvane("models", "list", **environment).stdout
    rows = {line.split()[0]: line for line in listed.splitlines() if line}
    assert f"{NAME}" in rows["text-embedding-v4"]
    assert "serves text-embedding-v4" in rows[NAME]
    assert "not here" in rows["bge-m3"]
    shown = milvane("models", "show", "text-embedding-v4", **environment).stdout
    assert "xlm-roberta" in shown
    arguments = ("--grpc-port", "0", "--http-port", "0")
    with MilvaneProcess(tmp_path / "data", environment=environment, arguments=arguments) as server:
        answer = httpx.post(
            f"{server.http_url}/api/v1/services/embeddings/text-embedding/text-embedding",
            json={
                "model": "text-embedding-v4",
                "input": {"texts": list(TEXTS[:2])},
                "parameters": {"dimension": 64, "output_type": "dense&sparse"},
            },
        ).json()
        card = httpx.get(f"{server.http_url}/v1/models/text-embedding-v4").json()
    assert card["milvane"]["weights"] == NAME
    with np.load(REFERENCE) as stored:
        expected = stored["bge-m3/documents"]
    for row, embedding in enumerate(answer["output"]["embeddings"]):
        vector = np.array(embedding["embedding"])
        assert vector[48:].tolist() == [0.0] * 16
        assert float(vector[:48] @ expected[row]) >= 0.999
        assert embedding["sparse_embedding"]


def test_name_that_is_no_repository_is_told(environment: dict[str, str]) -> None:
    """A name that nothing is called by, and a hub that does not exist, are told from the rest."""
    run = milvane("models", "pull", "a/b/c", **environment)
    assert run.returncode == 1
    assert "organisation/name" in run.stderr
    run = milvane("models", "pull", NAME, "--from", "elsewhere", **environment)
    assert run.returncode == 1
    assert "huggingface or modelscope" in run.stderr


def test_server_without_its_weights_says_what_to_run(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """A deployment of weights that are not here ends the start with the cure."""
    run = milvane(
        "serve", "--data-dir", str(tmp_path / "data"), "--grpc-port", "0", "--http-port", "0",
        **environment,
    )  # fmt: skip
    assert run.returncode == 1
    assert f"milvane models pull {NAME}" in run.stderr


def write_picture_repository(folder: Path) -> None:
    """Write what a repository of Qwen3-VL-Embedding-2B says of itself, and much beside it."""
    (folder / "scripts").mkdir(parents=True)
    config = {
        "model_type": "qwen3_vl",
        "text_config": {"hidden_size": 2048, "max_position_embeddings": 262144},
        "vision_config": {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text('{"patch_size": 16}')
    (folder / "chat_template.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3000))
    (folder / "README.md").write_text("about")
    (folder / "scripts" / "qwen3_vl_embedding.py").write_text("never fetched")


def test_model_of_images_is_pulled_by_its_contract(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """The name of a contract is enough: size, memory and deployment are said before and after."""
    write_picture_repository(tmp_path / "repository")
    state = HubState(tmp_path / "repository", repository="Qwen/Qwen3-VL-Embedding-2B")
    with served_hub(state) as address:
        pulled = milvane("models", "pull", "qwen3-vl-embedding", **environment, HF_ENDPOINT=address)
        larger = milvane(
            "models", "pull", "qwen3-vl-embedding", "--weights", "8B", **environment,
            HF_ENDPOINT=address,
        )  # fmt: skip
    assert pulled.returncode == 0, pulled.stderr
    told = " ".join(pulled.stderr.split())
    deployment = '"qwen3-vl-embedding" = "qwen3-vl-embedding-2b"'
    assert told.count(deployment) == 2
    assert told.index("of disk") < told.index(deployment) < told.index("here and checked")
    assert "2048 dimensions" in told
    folder = tmp_path / "weights" / "qwen3-vl-embedding-2b"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "preprocessor_config.json", "chat_template.json", "tokenizer.json",
        "model.safetensors", "milvane.json", "verified.json",
    }  # fmt: skip
    assert larger.returncode == 1
    assert "Qwen3-VL-Embedding-8B" in larger.stderr
    assert not state.problems


def test_weights_on_one_hub_alone_are_fetched_there(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """M2-Encoder lies on ModelScope as its trainers wrote it, and is found without being told."""
    repository = tmp_path / "repository"
    (repository / "vlmo" / "tokenizer").mkdir(parents=True)
    (repository / "m2_encoder_0.4B.ckpt").write_bytes(bytes(3000))
    (repository / "vlmo" / "tokenizer" / "sp.model").write_bytes(bytes(100))
    (repository / "run.py").write_text("never fetched")
    state = HubState(repository, repository="M2Cognition/M2-Encoder")
    with served_hub(state) as address:
        pulled = milvane(
            "models", "pull", "ops-m2-encoder", **environment, MODELSCOPE_ENDPOINT=address
        )
    assert pulled.returncode == 0, pulled.stderr
    assert '"ops-m2-encoder" = "m2-encoder"' in " ".join(pulled.stderr.split())
    assert not (tmp_path / "weights" / "m2-encoder" / "run.py").exists()
    elsewhere = milvane("models", "pull", "m2-encoder", "--from", "huggingface", **environment)
    assert "--from modelscope" in elsewhere.stderr


def test_repository_for_images_is_offered_to_a_model_that_takes_them(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """A CLIP by its repository's name is told to serve no model of texts."""
    write_picture_repository(tmp_path / "repository")
    config = {"model_type": "clip", "projection_dim": 512}
    (tmp_path / "repository" / "config.json").write_text(json.dumps(config))
    with served_hub(HubState(tmp_path / "repository")) as address:
        pulled = milvane("models", "pull", NAME, **environment, HF_ENDPOINT=address)
    assert pulled.returncode == 0, pulled.stderr
    told = " ".join(pulled.stderr.split())
    assert told.count(f'"multimodal-embedding-v1" = "{NAME}"') == 2
    assert "512 dimensions" in told


def test_chat_model_is_no_embedding_model(tmp_path: Path, environment: dict[str, str]) -> None:
    """The network that an embedding model was made of has its layout, and gives no vectors."""
    write_picture_repository(tmp_path / "repository")
    state = HubState(tmp_path / "repository", repository="Qwen/Qwen3-VL-2B-Instruct")
    with served_hub(state) as address:
        run = milvane("models", "pull", state.repository, **environment, HF_ENDPOINT=address)
    assert run.returncode == 1
    assert "not trained to embed" in " ".join(run.stderr.split())
