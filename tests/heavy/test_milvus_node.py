"""The Node SDK of Milvus."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = "@zilliz/milvus2-sdk-node (npm)"
NODE = Path(__file__).parent / "node"

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and (NODE / "node_modules").is_dir()),
    reason="Node and npm are not on this machine",
)


def test_raw_text_is_inserted_found_and_deleted(grpc_uri: str, name: str) -> None:
    """Creates a collection, inserts and upserts raw text, searches it by meaning, by words and by
    both, filters, deletes, flushes, describes and drops; shows the refusal of an empty text.
    """
    seen = run_program("milvus.mjs", grpc_uri.removeprefix("http://"), name)
    code, reason = seen.pop("refused")
    assert code == 65535
    assert "empty string" in reason
    assert seen.pop("one")[0] == 3
    assert seen.pop("words")[0] == 3
    assert seen.pop("ranked")[0] == 3
    assert seen.pop("weighted")[0] == 3
    assert seen == {
        "created": "Success",
        "inserted": "4",
        "several": [2, 1],
        "filtered": [3, 1],
        "upserted": "1",
        "afterUpsert": [1, 3],
        "afterDelete": 1,
        "count": 3,
        "flushed": True,
        "functions": ["bm25", "embed"],
        "dropped": "Success",
    }


def test_quick_collection_takes_vectors_and_values_of_filters(grpc_uri: str, name: str) -> None:
    """Creates a collection by its dimension alone, inserts ready-made vectors, searches them with a
    filter whose values stand beside it, updates a part of a row, and reads rows page by page.
    """
    seen = run_program("quick.mjs", grpc_uri.removeprefix("http://"), name)
    assert seen == {
        "created": "Success",
        "found": [1, 3, 5],
        "updated": [[1, "blue", [1, 1, 0, 0]]],
        "pages": [[1, 2], [3, 4], [5]],
    }


def test_rest_client_inserts_and_finds_raw_text(grpc_uri: str, name: str) -> None:
    """Does the same over REST v2 with the SDK's `HttpClient`: creates, inserts, searches, upserts,
    deletes and drops.
    """
    assert run_program("rest.mjs", grpc_uri, name) == {
        "created": 0,
        "inserted": 2,
        "found": "A rocket flies.",
        "upserted": 1,
        "left": "An astronaut walks on the moon in a space suit.",
        "dropped": 0,
    }


def run_program(program: str, *arguments: str) -> dict[str, object]:
    """Run a program of `node/`; returns what it found."""
    run = subprocess.run(
        ["node", NODE / program, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])
