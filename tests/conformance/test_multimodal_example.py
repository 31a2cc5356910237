"""The hosted service's own second example, with the oldest and the newest supported client."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawing import as_jpeg, draw_bananas, draw_oranges, pan, write_video
from milvane.testing.servers import MilvaneProcess

SCRIPT = Path(__file__).parent / "scripts" / "multimodal_search_example.py"
CLOTHS = ((232, 226, 214), (74, 82, 92), (255, 255, 255), (120, 150, 190), (190, 160, 140))
FRUIT = {"banana": draw_bananas, "orange": draw_oranges}
HIT = re.compile(r"id=(\d+), distance=(-?\d\.\d{4}),(?: \[has (?:image|media)\])? document=(.*)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvaneProcess]:
    """A whole server, with a media store of its own."""
    with MilvaneProcess(tmp_path_factory.mktemp("server") / "data") as process:
        yield process


@pytest.fixture(scope="module")
def keys(server: MilvaneProcess) -> dict[str, str]:
    """Make a key of the media store, as an operator does."""
    data_dir = server.log.with_suffix("")
    command = ["-m", "milvane.cli", "media", "keys", "create", "example", "--data-dir", data_dir]
    made = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=True
    )
    return dict(line.split("=", 1) for line in made.stdout.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw the pictures and videos that the document lays beside its code."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copy(SCRIPT, folder)
    for name, draw in FRUIT.items():
        (folder / "qwen-vl" / "train" / name).mkdir(parents=True)
        for number in range(10):
            picture = draw(1 + number % 4, ground=CLOTHS[number % len(CLOTHS)])
            path = folder / "qwen-vl" / "train" / name / f"{name}_{number:04}.JPEG"
            path.write_bytes(as_jpeg(picture, quality=80 + number))
    videos = folder / "qwen-vl" / "short_video_10_of_42"
    videos.mkdir()
    for number in range(6):
        draw = draw_bananas if number % 2 else draw_oranges
        write_video(videos / f"{number}.mp4", pan(draw(number // 2 + 1)))
    return folder


@pytest.mark.slow
def test_documented_example_runs_unchanged(
    server: MilvaneProcess,
    keys: dict[str, str],
    folder: Path,
    client_environment: dict[str, str],
) -> None:
    """Only addresses and keys differ from the document; its searches find what they should."""
    run = subprocess.run(
        [sys.executable, folder / SCRIPT.name, server.grpc_uri, server.http_url],
        env=os.environ | client_environment | keys,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Uploaded and selected 5 videos" in run.stdout
    assert "Inserted 27/27 records" in run.stdout
    _, *searches = run.stdout.split("Test ")
    texts, bananas, oranges = ([*HIT.findall(search)] for search in searches)
    assert [len(hits) for hits in (texts, bananas, oranges)] == [3, 3, 3]
    assert texts[0][0] == "26"
    assert oranges[0][:2] == ("11", "1.0000")
    assert {int(number) for number, *_ in oranges} <= {*range(11, 21), *range(21, 26)}
    found = [int(number) for number, *_ in bananas]
    assert set(found) <= {*range(1, 11), *range(21, 26)}, run.stdout
