"""Where the settings of servers elsewhere come from, and what of them is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from milvane.domain.catalogue import deploy
from milvane.settings import load_settings

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "serve-models-elsewhere.md"


def test_example_of_the_page_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the how-to is read as it says, with the key from the environment."""
    [toml] = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    file = tmp_path / "milvane.toml"
    file.write_text(toml)
    monkeypatch.setenv("MILVANE_INFERENCE__REMOTE__GPUS__API_KEY", "a-secret")
    settings = load_settings(file=file).settings
    remote = settings.inference.remote["gpus"]
    assert remote.urls == ("http://gpu-1:8000", "http://gpu-2:8000")
    assert remote.api_key.get_secret_value() == "a-secret"
    assert "a-secret" not in repr(settings)
    served = deploy(settings.deployments)
    assert served["text-embedding-v4"] == "gpus"
    assert settings.inference.weights_of("gpus") == "/srv/models/qwen3-embedding-0.6b"
    assert settings.inference.weights_of("bge-m3") == "bge-m3"
