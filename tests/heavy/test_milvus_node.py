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
    run = subprocess.run(
        ["node", NODE / "milvus.mjs", grpc_uri.removeprefix("http://"), name],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
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
