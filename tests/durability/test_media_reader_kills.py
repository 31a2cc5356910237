"""What is left of reading media after the server was killed in the middle of it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from milvane.media.keeping.cache import MediaCache

SCRIPT = Path(__file__).parent / "scripts" / "read_media.py"


def kill_after(rounds: int, folder: Path) -> list[psutil.Process]:
    """Kill what reads media after a number of rounds; gives the processes that decoded for it."""
    command = [sys.executable, SCRIPT, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        for _ in range(rounds):
            _, *process_ids = server.stdout.readline().split()
        decoders = [psutil.Process(int(each)) for each in process_ids]
        assert len(decoders) == 2
        server.kill()
    return decoders


@pytest.mark.slow
async def test_a_kill_leaves_whole_files_and_no_process(tmp_path: Path) -> None:
    """After each kill, decoders end by themselves, and all that is known is whole."""
    folder = tmp_path / "media-cache"
    for rounds in (2, 5):
        decoders = kill_after(rounds, tmp_path)
        _, alive = psutil.wait_procs(decoders, timeout=10)
        assert alive == []

        async with MediaCache(folder, 2_000_000) as cache:
            assert 0 < cache.kept_bytes <= 2_000_000
            assert list((folder / "incoming").iterdir()) == []
            files = list((folder / "contents").iterdir())
            assert sum(path.stat().st_size for path in files) == cache.kept_bytes
            for path in files:
                content = path.read_bytes()
                assert hashlib.sha256(content).hexdigest() == path.name
                held = await cache.find(bytes.fromhex(path.name))
                assert held is not None
                assert (held.facts.width, held.facts.height) == (1, 1)
