"""A server whose deployments name weights for images, asked as DashScope's clients ask it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from device.references import Qwen3VL
from milvane.testing.servers import MilvaneProcess
from seeing import drawn_picture, write_clip, write_qwen3_vl

pytestmark = [pytest.mark.filterwarnings("default")]  # those of PyTorch are not ours

PATH = "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding"


def as_data(seed: int) -> str:
    """Draw an image, and write it as an address that holds it."""
    written = io.BytesIO()
    Image.fromarray(drawn_picture(128, 96, seed)).save(written, "PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


def vectors(answer: Any) -> np.ndarray:
    """Take the vectors out of an answer."""
    return np.array([each["embedding"] for each in answer["output"]["embeddings"]], np.float32)


def test_deployed_weights_answer_for_texts_and_images(tmp_path: Path) -> None:
    """Texts, images and both fused come back as the family's own code has them, with usage."""
    write_qwen3_vl(tmp_path / "qwen")
    write_clip(tmp_path / "clip")
    reference = Qwen3VL(tmp_path / "qwen")
    deployments = {
        "qwen3-vl-embedding": str(tmp_path / "qwen"),
        "multimodal-embedding-v1": str(tmp_path / "clip"),
    }
    environment = {
        "MILVANE_DEPLOYMENTS": json.dumps(deployments),
        "MILVANE_INFERENCE__PRECISION": "f32",
        "MILVANE_INFERENCE__THREADS": "1",
    }
    arguments = ("--grpc-port", "0", "--http-port", "0")
    with MilvaneProcess(tmp_path / "data", environment=environment, arguments=arguments) as server:
        asked: list[dict[str, Any]] = [{"text": "the cat"}, {"image": as_data(1)}]
        apart = ask(server, "qwen3-vl-embedding", asked)
        fused = ask(
            server, "qwen3-vl-embedding", [{"text": "the cat", "image": as_data(1)}],
            enable_fusion=True,
        )  # fmt: skip
        towers = ask(server, "multimodal-embedding-v1", [*asked, {"image": as_data(1)}])
    image = drawn_picture(128, 96, 1)
    rows = vectors(apart)
    assert rows.shape == (2, 2560)
    assert rows[0, :64] @ reference.vector(text="the cat") > 0.9999
    assert rows[1, :64] @ reference.vector(image=image) > 0.9999
    assert vectors(fused)[0, :64] @ reference.vector(text="the cat", image=image) > 0.9999
    assert apart["usage"]["image_tokens"] == 12
    assert apart["usage"]["input_tokens"] > 12
    own = vectors(towers)
    assert own[1] @ own[2] > 0.99999
    assert own[0] @ own[1] < 0.99


def ask(server: MilvaneProcess, model: str, contents: list[dict[str, Any]], **options: Any) -> Any:
    """Ask for vectors; says what is wrong if there are none."""
    body = {"model": model, "input": {"contents": contents}, "parameters": options}
    answer = httpx.post(f"{server.http_url}{PATH}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()
