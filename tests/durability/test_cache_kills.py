"""A process that dies while it keeps vectors leaves a file that the next one can use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from milvane.serving.caching.keys import make_keys
from milvane.serving.caching.sqlite_file import VectorFile

WRITER = Path(__file__).parent / "scripts" / "cache_writer.py"
GROUP = 50
MAX_BYTES = 4 * 1024 * 1024


def test_kept_vectors_survive_kills(tmp_path: Path) -> None:
    """Whatever a process said was written is there after its end, whole; and so is the bound."""
    path, number = tmp_path / "vectors.db", 0
    for round_number in range(8):
        with subprocess.Popen(
            [sys.executable, str(WRITER), str(path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(5 + 11 * round_number):  # the bound is reached on the way
                number = int(writer.stdout.readline())
            writer.kill()
        file = VectorFile(path, MAX_BYTES)
        names = [str(each).encode() for each in range(number - GROUP, number)]
        keys = make_keys("", "", names)
        found = file.read(keys).vectors
        vectors = [name.ljust(1536 + 8 * (int(name) % GROUP), b".") for name in names]
        assert found == dict(zip(keys, vectors, strict=True))
        told: list[bytes] = []
        assert file.tell_keys(told.extend) == len(told) == len(set(told))
        file.close()
        number += 10 * GROUP  # what was written after the last word said
    assert path.stat().st_size < 2 * MAX_BYTES
