"""
Where sets of weights live on disk, and whether they are what the catalogue says.

One folder per set, ``<name>-<version>``, with its files and a stamp that says when they were last
hashed. A folder under its own name is always whole: it is put in place by one rename.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from milvane.domain.catalogue import Packaged, WeightsFile
from milvane.domain.errors import Conflict, NotFound

LOG = logging.getLogger(__name__)

STAMP_NAME = "verified.json"
CHUNK_BYTES = 1 << 20


class _SeenFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size_bytes: int
    modified_ns: int


class _Stamp(BaseModel):
    """What the files looked like when their hashes were last found right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, _SeenFile]


def default_folder(environment: Mapping[str, str], home: Path) -> Path:
    """
    Say where weights are kept unless the settings name a place: in the user's cache folder.

    Args:
        environment: For ``XDG_CACHE_HOME``.

        home: The user's home folder.
    """
    cache = environment.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache.startswith("/") else home / ".cache") / "milvane" / "weights"


def folder_of(weights: Packaged, weights_dir: Path) -> Path:
    """Say where a set lives, whether it is there or not."""
    return weights_dir / (weights.folder or f"{weights.name}-{weights.version}")


def is_present(weights: Packaged, weights_dir: Path) -> bool:
    """Say whether all files of a set are there with their sizes."""
    folder = folder_of(weights, weights_dir)
    return all(_size_bytes(folder / file.name) == file.size_bytes for file in weights.files)


def find(weights: Packaged, weights_dir: Path) -> Path:
    """
    Find a set that is fit to be loaded.

    Files that have not changed since they were last hashed are not hashed again.

    Returns:
        The folder of the set.

    Raises:
        NotFound: If the set is not there; the message says how to get it.

        Conflict: If a file is not what the catalogue says.
    """
    folder = folder_of(weights, weights_dir)
    if not folder.is_dir():
        raise NotFound(
            f"the weights {weights.name} are not in {weights_dir}: "
            f"run `milvane models pull {weights.name}`"
        )
    stamp = _read_stamp(folder)
    if stamp is None or not all(_is_unchanged(folder, file, stamp) for file in weights.files):
        verify(weights, weights_dir)
    return folder


def verify(weights: Packaged, weights_dir: Path) -> None:
    """
    Hash every file of a set and compare it with the catalogue; remember the outcome if it is good.

    Raises:
        Conflict: If a file is missing, cut or changed; the message names it and the cure.
    """
    folder = folder_of(weights, weights_dir)
    for file in weights.files:
        if _hash(folder / file.name) != file.sha256:
            raise Conflict(
                f"{folder / file.name} is missing or is not what the catalogue says: "
                f"run `milvane models pull {weights.name}` to fetch the set again"
            )
    write_stamp(weights, folder)


def write_stamp(weights: Packaged, folder: Path) -> None:
    """Record that the files of a set, as they lie in ``folder``, have the catalogue's hashes."""
    stamp = _Stamp(files={file.name: _seen(folder / file.name, file) for file in weights.files})
    try:
        (folder / STAMP_NAME).write_text(stamp.model_dump_json(indent=2), encoding="utf-8")
    except OSError as error:
        LOG.debug("No stamp in %s, files are hashed at each start: %s", folder, error)


def known_hash(folder: Path, name: str) -> str | None:
    """Say a file's sha256 if it is as it was when it was last hashed."""
    stamp = _read_stamp(folder)
    seen = stamp.files.get(name) if stamp else None
    try:
        status = (folder / name).stat()
    except OSError:
        return None
    is_same = seen and (seen.size_bytes, seen.modified_ns) == (status.st_size, status.st_mtime_ns)
    return seen.sha256 if seen and is_same else None


def _seen(path: Path, file: WeightsFile) -> _SeenFile:
    status = path.stat()
    return _SeenFile(sha256=file.sha256, size_bytes=status.st_size, modified_ns=status.st_mtime_ns)


def _read_stamp(folder: Path) -> _Stamp | None:
    try:
        return _Stamp.model_validate_json((folder / STAMP_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def _is_unchanged(folder: Path, file: WeightsFile, stamp: _Stamp) -> bool:
    try:
        return stamp.files.get(file.name) == _seen(folder / file.name, file)
    except OSError:
        return False


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _hash(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()
