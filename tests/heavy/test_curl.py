"""curl over REST v2, with the very lines of the how-to page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = "curl"
PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "point-an-sdk-here.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_raw_text_is_inserted_found_and_deleted(grpc_uri: str) -> None:
    """Creates a collection, inserts and upserts raw text, searches it by meaning and by both
    meaning and words, deletes, queries and drops.
    """
    (script,) = re.findall(r"^```bash conformance\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    script = script.replace("http://127.0.0.1:19530", grpc_uri)
    run = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    decoder, answers, rest = json.JSONDecoder(), [], run.stdout.strip()
    while rest:
        answer, end = decoder.raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].lstrip()
    assert [answer["code"] for answer in answers] == [0] * 8
    _, inserted, found, ranked, upserted, _, left, _ = (answer["data"] for answer in answers)
    assert inserted["insertIds"] == [1, 2]
    assert [hit["document"] for hit in found] == ["A rocket flies."]
    assert sorted(hit["id"] for hit in ranked) == [1, 2]
    assert upserted["upsertCount"] == 1
    assert left == [{"id": 1, "document": "Astronauts walk on the moon."}]
