"""The JavaScript client of OpenAI."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

CLIENT = "openai (npm)"
NODE = Path(__file__).parent / "node"

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and (NODE / "node_modules").is_dir()),
    reason="Node and npm are not on this machine",
)


def test_texts_are_embedded(http_url: str) -> None:
    """Embeds one text, several and a query, as base64 and as numbers, with other dimensions; lists
    the models; shows the refusal of an unknown one as its own `NotFoundError`.
    """
    run = subprocess.run(
        ["node", NODE / "openai.mjs", http_url],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    several = np.array(seen["several"])
    assert several.shape == (2, 1024)
    np.testing.assert_allclose(seen["one"], several[0], atol=1e-5)
    np.testing.assert_allclose(seen["floats"], several[0], atol=1e-5)
    assert (several @ seen["query"]).argmax() == 1
    assert seen["small"] == 256
    assert seen["usage"]["total_tokens"] == 2
    assert seen["refused"] == ["NotFoundError", 404, "model_not_found", True]
    assert "text-embedding-v4" in seen["listed"]
