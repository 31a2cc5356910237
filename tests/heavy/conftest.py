"""
What the tests of heavy clients share: where the server is, and an account of what was tried.

They run in an environment that has the clients and nothing of the server: `make conformance`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Generator, Iterator
from importlib import metadata, util
from itertools import count
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "curl", "prometheus")
"""Clients that are no packages: what is on PATH is tried."""
NODE = Path(__file__).parent / "node"
TEXTS = [
    "The cat sleeps on the warm windowsill.",
    "Stock markets fell sharply on Monday.",
    "Fresh bread smells wonderful in the morning.",
    "The spacecraft entered orbit around Mars.",
]

numbers = count()
tried: list[dict[str, str]] = []

# Nothing is fetched and nothing is told to anybody: these clients would do both.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["TIKTOKEN_CACHE_DIR"] = str(
    Path(util.find_spec("litellm").origin).parent / "litellm_core_utils" / "tokenizers"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try the console last: its browser keeps an event loop running from its first test on."""
    items.sort(key=lambda item: "console" in item.path.parts)


@pytest.fixture(scope="session")
def grpc_uri() -> str:
    """Address of the Milvus protocol."""
    return os.environ["MILVANE_GRPC_URI"]


@pytest.fixture(scope="session")
def http_url() -> str:
    """Address of the HTTP APIs."""
    return os.environ["MILVANE_HTTP_URL"]


@pytest.fixture
def texts() -> list[str]:
    """Four texts about different things; the fourth, of number 3, is about space."""
    return list(TEXTS)


@pytest.fixture
def name(grpc_uri: str) -> Iterator[str]:
    """A collection name that nobody else uses; what is called so is gone in the end."""
    from pymilvus import MilvusClient

    name = f"heavy_{next(numbers)}"
    yield name
    client = MilvusClient(uri=grpc_uri)
    client.drop_collection(name)
    client.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, Any, Any]:
    """Take down what each test did, with which client, and how it ended."""
    report = yield
    client = getattr(item.module, "CLIENT", None)
    if client and (report.when == "call" or report.outcome != "passed"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        tried.append(
            {
                "client": client,
                "version": version_of(client),
                "what": what_is_done(item),
                "outcome": report.outcome,
                "reason": reason.removeprefix("Skipped: "),
            }
        )
    return report


def what_is_done(item: pytest.Function) -> str:
    """Return a test's own sentence, with its parameters where it has any."""
    sentence = " ".join((item.function.__doc__ or "").split()).rstrip(".")
    return f"{sentence} ({item.callspec.id})" if hasattr(item, "callspec") else sentence


def version_of(client: str) -> str:
    """Say which version of a client is installed; nothing where it is not."""
    if client in PROGRAMS:
        if shutil.which(client) is None:
            return ""
        run = subprocess.run([client, "--version"], capture_output=True, text=True, check=True)
        return re.findall(r"\d[\d.]+", run.stdout + run.stderr)[0]
    package = NODE / "node_modules" / client.removesuffix(" (npm)") / "package.json"
    if client.endswith("(npm)"):
        return json.loads(package.read_text())["version"] if package.exists() else ""
    return metadata.version(client)


def pytest_sessionfinish() -> None:
    """Leave the account where the caller wants it."""
    if results := os.environ.get("MILVANE_CONFORMANCE_RESULTS"):
        Path(results).write_text(json.dumps(tried))
