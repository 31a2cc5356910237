"""The operator's `milvus.yaml`, read as it is."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from milvane.domain.errors import InvalidInput
from milvane.providers.configuration import (
    Configuration,
    ConfigurationFile,
    from_milvus_yaml,
    from_settings,
    merge,
    read_file,
)
from milvane.providers.dialect import OperatorEntry
from milvane.providers.settings import ProvidersSettings

YAML = """
etcd:
  endpoints: localhost:2379
credential:
  ApiKey_Dev:
    apikey: dev-secret
  aksk1: {access_key_id: id, secret_access_key: 12345}
  empty:
    apikey:
function:
  model:
    requestTimeout: 1500ms
  textEmbedding:
    providers:
      dashscope:
        credential: ApiKey_Dev
        url: https://dashscope-intl.aliyuncs.com/x
      OpenAI:
        enable: FALSE
      azure_openai:
        resource_name: mine
      tei:
        enable: true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the file."""
    path = tmp_path / "milvus.yaml"
    path.write_text(YAML)
    return path


def rewrite(path: Path, text: str) -> None:
    """Write the file anew, at another time than before."""
    path.write_text(text)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))


def test_sections_of_milvus_are_understood(file: Path) -> None:
    """Labels and names in any case, values as text, what is empty is not there."""
    found = read_file(file)
    revealed = {
        label: {key: value.get_secret_value() for key, value in entry.items()}
        for label, entry in found.credentials.items()
    }
    assert revealed == {
        "apikey_dev": {"apikey": "dev-secret"},
        "aksk1": {"access_key_id": "id", "secret_access_key": "12345"},
        "empty": {},
    }
    assert found.entry_of("dashscope") == OperatorEntry(
        credential="apikey_dev", url="https://dashscope-intl.aliyuncs.com/x"
    )
    assert not found.entry_of("openai").enabled
    assert found.entry_of("azure_openai").resource_name == "mine"
    assert found.entry_of("tei").enabled
    assert found.entry_of("nobody") == OperatorEntry()
    assert found.request_timeout_s == 1.5


@pytest.mark.parametrize("document", [None, [], "text", {"credential": 5, "function": None}])
def test_file_without_the_sections_sets_nothing(document: object) -> None:
    """Whatever else a file holds is not ours."""
    assert from_milvus_yaml(document) == Configuration()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30s", 30.0), (5, 5.0), ("2m", 120.0), ("0s", None), ("soon", None), (None, None)],
)
def test_timeout_is_a_duration_of_go(written: object, seconds: float | None) -> None:
    """Milvus writes durations with a unit."""
    document = {"function": {"model": {"requestTimeout": written}}}
    assert from_milvus_yaml(document).request_timeout_s == seconds


def test_changed_file_is_read_again(file: Path) -> None:
    """The next use sees the change, without a restart."""
    watched = ConfigurationFile(file)
    rewrite(file, "credential: {new: {apikey: other}}")
    assert list(watched.current().credentials) == ["new"]


def test_damaged_file_changes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was read before stays in force, and the log says so once without showing the file."""
    watched = ConfigurationFile(file)
    before = watched.current()
    rewrite(file, "credential: {new: {apikey: a-secret}")
    with caplog.at_level(logging.WARNING):
        assert watched.current() == before
        assert watched.current() == before
    (record,) = caplog.records
    assert "is not valid YAML, line" in record.getMessage()
    assert "a-secret" not in caplog.text
    file.unlink()
    assert watched.current() == before


def test_missing_file_is_told_at_the_start(tmp_path: Path) -> None:
    """A server does not start without the file that it was given."""
    with pytest.raises(InvalidInput, match=r"milvus\.yaml cannot be read"):
        ConfigurationFile(tmp_path / "milvus.yaml")


def test_file_wins_over_our_own_settings(file: Path) -> None:
    """Both have the same form; a label or provider of the file replaces ours whole."""
    settings = ProvidersSettings.model_validate(
        {
            "credential": {"APIKEY_dev": {"apikey": "ours"}, "Own": {"apikey": "own"}},
            "text_embedding": {"DashScope": {"credential": "own"}, "cohere": {"enable": False}},
        }
    )
    merged = merge(from_settings(settings), read_file(file))
    assert merged.credentials["apikey_dev"]["apikey"].get_secret_value() == "dev-secret"
    assert merged.credentials["own"]["apikey"].get_secret_value() == "own"
    assert merged.entry_of("dashscope").credential == "apikey_dev"
    assert not merged.entry_of("cohere").enabled


def test_secrets_are_not_in_what_is_printed(file: Path) -> None:
    """Neither the settings nor what was read shows a secret."""
    settings = ProvidersSettings.model_validate({"credential": {"a": {"apikey": "hush-hush"}}})
    for shown in (settings, settings.model_dump_json(), from_settings(settings), read_file(file)):
        assert "hush-hush" not in f"{shown} {shown!r}"
        assert "dev-secret" not in f"{shown} {shown!r}"
