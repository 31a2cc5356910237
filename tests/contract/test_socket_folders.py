"""What becomes of the folders in which sockets are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from milvane.instances.socket_folders import socket_folder

PROGRAM = """
import pathlib, sys
from milvane.instances.socket_folders import socket_folder
with socket_folder(pathlib.Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_folder_is_private_and_goes_with_its_user(tmp_path: Path) -> None:
    """Nobody else may look into it, and nothing is left."""
    with socket_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "1").touch()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_processes_are_removed_and_of_living_ones_kept(tmp_path: Path) -> None:
    """The next start clears up after those that could not, and disturbs nobody."""
    foreign = tmp_path / "milvane-notes"
    foreign.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    folders = []
    for process in processes:
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().strip()))
    killed, living = processes
    killed.kill()
    killed.communicate()
    assert folders[0].exists()
    with socket_folder(tmp_path) as folder:
        assert set(tmp_path.iterdir()) == {foreign, folders[1], folder}
    living.communicate("")
    assert list(tmp_path.iterdir()) == [foreign]
