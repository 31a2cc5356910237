"""
Fetching a set of weights from a hub: whole or not at all, and never twice.

What has been fetched of a set lies in a folder beside it, under a name with a dot, and stays there
when the connection breaks: the next attempt asks for the rest. A file is moved on only with the
hash that the hub says; the folder gets its own name when all files are there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx2
from filelock import FileLock

from milvane.domain.catalogue import Packaged, WeightsFile, WeightsName
from milvane.domain.errors import Conflict, UpstreamRejected, UpstreamUnavailable
from milvane.inference.choosing import choose_files, takes_images
from milvane.inference.downloads import Progress, disk_failure
from milvane.inference.hubs import Hub, HubFile, Listing, check_status, unreachable
from milvane.inference.manifest import MANIFEST_NAME, Manifest, ManifestFile
from milvane.inference.weights import CHUNK_BYTES, write_stamp

LOG = logging.getLogger(__name__)

ATTEMPTS = 5
"""Times in a row that a connection may break without a byte of progress."""
SPARE_BYTES = 200_000_000
"""What must stay free on the disk after a pull."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pull will fetch."""

    size_bytes: int
    """Of the whole set."""
    left_bytes: int
    """Of it, still to be fetched."""
    takes_images: bool


Announce = Callable[[Plan], None]
"""Called once before anything is fetched."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """Which repository of which hub."""

    hub: Hub
    client: httpx2.Client
    repository: str


def pull_from_hub(
    source: HubSource,
    folder: Path,
    *,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> Manifest:
    """
    Fetch a repository's weights into a folder, going on where an earlier attempt ended. Blocks.

    Args:
        source: What to fetch.

        folder: Where it will be; what is there already is replaced when all is here.

        progress: Told how far the download is.

        announce: Told beforehand what the set takes.

    Raises:
        NotFound: If the hub has no such repository.

        UpstreamUnavailable: If the hub does not answer; what was fetched is kept.

        UpstreamRejected: If the repository is no sentence model, or a file has another hash.

        Conflict: If the disk has no room, or cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            return _pull(source, folder, progress, announce)
    except OSError as error:
        raise disk_failure(error, folder.parent) from error


def _pull(
    source: HubSource, folder: Path, progress: Progress | None, announce: Announce | None
) -> Manifest:
    listing = source.hub.list_files(source.repository)
    files = choose_files(listing.files, source.repository)
    for file in files:
        _refuse_odd_path(file.path)
    here = _hash_all(folder, files)
    if here is not None:
        return _manifest(source, listing, here)
    partial = folder.parent / f".{folder.name}.partial"
    partial.mkdir(exist_ok=True)
    size_bytes = sum(file.size_bytes for file in files)
    present_bytes = sum(_present_bytes(partial, file) for file in files)
    if announce:
        plan = Plan(size_bytes, size_bytes - present_bytes, takes_images=takes_images(files))
        announce(plan)
    _require_space(partial, size_bytes - present_bytes)
    fetcher = _Fetcher(source, listing, partial, progress, size_bytes)
    entries = tuple(fetcher.fetch(file) for file in files)
    manifest = _manifest(source, listing, entries)
    manifest.write(partial)
    _put_in_place(partial, folder)
    write_stamp(_as_package(manifest, folder.name), folder)  # the first load need not hash again
    return manifest


def _as_package(manifest: Manifest, name: str) -> Packaged:
    files = (
        WeightsFile(path=each.name, name=each.name, sha256=each.sha256, size_bytes=each.size_bytes)
        for each in manifest.files
    )
    return Packaged(
        name=WeightsName(name),
        package=manifest.repository,
        version=manifest.revision,
        licence="",
        files=tuple(files),
    )


def _manifest(source: HubSource, listing: Listing, entries: tuple[ManifestFile, ...]) -> Manifest:
    return Manifest(
        hub=source.hub.name,
        repository=source.repository,
        revision=listing.revision,
        files=entries,
    )


def _hash_all(folder: Path, files: tuple[HubFile, ...]) -> tuple[ManifestFile, ...] | None:
    """Hash a set that is in place; nothing if a file is missing or is another one."""
    if not (folder / MANIFEST_NAME).is_file():
        return None
    entries = []
    for file in files:
        sha256 = _check(folder / file.path, file)
        if sha256 is None:
            return None
        entries.append(ManifestFile(name=file.path, sha256=sha256, size_bytes=file.size_bytes))
    return tuple(entries)


def _refuse_odd_path(path: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path:
        raise UpstreamRejected(f"the hub lists a file called {path!r}, which is outside its folder")


def _present_bytes(partial: Path, file: HubFile) -> int:
    done, part = partial / file.path, _part_of(partial, file)
    for path in (done, part):
        if path.is_file():
            return min(path.stat().st_size, file.size_bytes)
    return 0


def _part_of(partial: Path, file: HubFile) -> Path:
    # A new version of the file has another hash, and so another part.
    tag = (file.sha256 or file.git_id or str(file.size_bytes))[:16]
    return partial / f"{file.path}.{tag}.part"


def _require_space(partial: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(partial).free
    if free_bytes < needed_bytes + SPARE_BYTES:
        raise Conflict(
            f"the disk under {partial.parent} has {free_bytes / 1e9:.1f} GB free, and "
            f"{(needed_bytes + SPARE_BYTES) / 1e9:.1f} GB are needed: free some space there, or "
            "choose another folder with inference.weights_dir"
        )


def _put_in_place(partial: Path, folder: Path) -> None:
    for leftover in partial.rglob("*.part"):
        leftover.unlink()
    replaced = folder.parent / f".{folder.name}.replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    partial.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


class _Fetcher:
    """Fetches one file after the other, counting bytes."""

    def __init__(
        self,
        source: HubSource,
        listing: Listing,
        partial: Path,
        progress: Progress | None,
        size_bytes: int,
    ) -> None:
        self._source = source
        self._listing = listing
        self._partial = partial
        self._progress = progress
        self._size_bytes = size_bytes
        self._before_bytes = 0

    def fetch(self, file: HubFile) -> ManifestFile:
        """Fetch what is missing of a file, check it, and give it its name."""
        done = self._partial / file.path
        done.parent.mkdir(parents=True, exist_ok=True)
        sha256 = _check(done, file)
        if sha256 is None:
            part = _part_of(self._partial, file)
            self._complete(file, part)
            sha256 = _check(part, file)
            if sha256 is None:
                part.unlink()
                raise UpstreamRejected(
                    f"{file.path} of {self._source.repository} is not what the hub says (its hash "
                    "differs): pull again; if that does not help, the mirror serves another file"
                )
            part.replace(done)
        self._before_bytes += file.size_bytes
        self._tell(0)
        return ManifestFile(name=file.path, sha256=sha256, size_bytes=file.size_bytes)

    def _complete(self, file: HubFile, part: Path) -> None:
        address = self._source.hub.address(self._listing, file)
        part.touch()
        attempts = 0
        while part.stat().st_size < file.size_bytes or (not file.size_bytes and not attempts):
            before_bytes = part.stat().st_size
            try:
                self._append(address, file, part)
            except (httpx2.TransportError, UpstreamUnavailable) as error:
                attempts = attempts + 1 if part.stat().st_size == before_bytes else 0
                if attempts >= ATTEMPTS:
                    if isinstance(error, UpstreamUnavailable):
                        raise
                    raise unreachable(address, error) from error
                LOG.debug("Fetching %s goes on after: %s", file.path, error)
            else:
                attempts = attempts + 1 if part.stat().st_size == before_bytes else 0
                if attempts >= ATTEMPTS:
                    return  # the hub gives no more than this: the hash will say so

    def _append(self, address: str, file: HubFile, part: Path) -> None:
        """Ask for what is missing, and write it as it comes."""
        begin = part.stat().st_size
        headers = {"Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        with self._source.client.stream("GET", address, headers=headers) as response:
            if response.status_code == 416:
                part.unlink()
                part.touch()
                return
            check_status(response, self._source.repository)
            goes_on = response.status_code == 206 and _begins_at(response, begin)
            with part.open("ab" if goes_on else "wb") as sink:
                written = begin if goes_on else 0
                for chunk in response.iter_bytes():
                    # One byte more than said is enough to know that the file is another one.
                    sink.write(chunk[: file.size_bytes + 1 - written])
                    written += len(chunk)
                    self._tell(min(written, file.size_bytes))
                    if written > file.size_bytes:
                        return
                sink.flush()
                os.fsync(sink.fileno())

    def _tell(self, bytes_of_file: int) -> None:
        if self._progress:
            self._progress(self._before_bytes + bytes_of_file, self._size_bytes)


def _begins_at(response: httpx2.Response, begin: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {begin}-")


def _check(path: Path, file: HubFile) -> str | None:
    """Hash a file; none if it is not the one that the hub describes."""
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return None
    sha256, git = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    git.update(f"blob {file.size_bytes}\0".encode())
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha256.update(chunk)
            git.update(chunk)
    if file.sha256 and sha256.hexdigest() != file.sha256.lower():
        return None
    if file.git_id and git.hexdigest() != file.git_id:
        return None
    return sha256.hexdigest()
