"""
Model hubs: what a repository holds, and where each file of it is fetched.

Two protocols. Hugging Face (https://huggingface.co/docs/hub/api): a revision's commit, its tree
with the sha256 of each large file and Git's hash of each small one, and ``/resolve/`` addresses
that may redirect. ModelScope: a list of files with sha256, and an address for each. Mirrors speak
the first one, so the address of either can be set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import httpx2

from milvane.domain.errors import NotFound, UpstreamRejected, UpstreamUnavailable

HUGGING_FACE = "huggingface"
MODEL_SCOPE = "modelscope"

TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
MAX_PAGES = 50


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository, and how it will be recognised."""

    path: str
    size_bytes: int
    sha256: str = ""
    git_id: str = ""
    """Git's own hash of it, where the hub has no sha256: SHA-1 of its length and content."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at one moment."""

    repository: str
    revision: str
    """Fixed where the hub says it, so that all files are of one moment."""
    files: tuple[HubFile, ...]


class Hub(Protocol):
    """Where weights are published."""

    @property
    def name(self) -> str:
        """As in ``--from``."""

    def list_files(self, repository: str) -> Listing:
        """
        List a repository's files. Blocks.

        Raises:
            NotFound: If the hub has no such repository, or shows it only to others.
            UpstreamUnavailable: If the hub does not answer.
            UpstreamRejected: If it answers with something else.
        """

    def address(self, listing: Listing, file: HubFile) -> str:
        """Say where a file is fetched."""


class HuggingFace:
    """Hugging Face, or a mirror of it."""

    name = HUGGING_FACE

    def __init__(self, client: httpx2.Client, endpoint: str) -> None:
        """
        Talk to a hub.

        Args:
            client: Has the token, if there is one.

            endpoint: Its address, as in ``HF_ENDPOINT``.
        """
        self._client = client
        self._endpoint = endpoint.rstrip("/")

    def list_files(self, repository: str) -> Listing:
        """Fix the revision, then list its tree, page by page."""
        top = f"{self._endpoint}/api/models/{quote(repository)}"
        facts = _json(self._client, f"{top}/revision/main", repository)
        revision = facts.get("sha") if isinstance(facts, Mapping) else None
        if not isinstance(revision, str):
            raise UpstreamRejected(f"{self._endpoint} names no revision of {repository}")
        files = tuple(self._tree(f"{top}/tree/{revision}?recursive=true", repository))
        return Listing(repository, revision, files)

    def _tree(self, address: str, repository: str) -> Iterator[HubFile]:
        for _ in range(MAX_PAGES):
            response = _get(self._client, address, repository)
            for entry in _listed(response.json(), repository):
                if entry.get("type") == "file":
                    large = entry.get("lfs") or {}
                    yield HubFile(
                        path=str(entry["path"]),
                        size_bytes=int(large.get("size", entry["size"])),
                        sha256=str(large.get("oid", "")).removeprefix("sha256:"),
                        git_id="" if large else str(entry["oid"]),
                    )
            following = response.links.get("next", {}).get("url")
            if not following:
                return
            address = str(following)
        raise UpstreamRejected(f"{repository} has more files than a model can have")

    def address(self, listing: Listing, file: HubFile) -> str:
        """Name the file at the revision that was listed."""
        path = quote(file.path)
        return f"{self._endpoint}/{quote(listing.repository)}/resolve/{listing.revision}/{path}"


class ModelScope:
    """ModelScope."""

    name = MODEL_SCOPE

    def __init__(self, client: httpx2.Client, endpoint: str) -> None:
        """
        Talk to a hub.

        Args:
            client: What is used for every request.

            endpoint: Its address.
        """
        self._client = client
        self._endpoint = endpoint.rstrip("/")

    def list_files(self, repository: str) -> Listing:
        """List the files of the branch that is served."""
        address = (
            f"{self._endpoint}/api/v1/models/{quote(repository)}/repo/files"
            "?Revision=master&Recursive=true"
        )
        answer = _json(self._client, address, repository)
        data = answer.get("Data") if isinstance(answer, Mapping) else None
        if not isinstance(data, Mapping):
            raise UpstreamRejected(f"{self._endpoint} lists no files of {repository}")
        files = tuple(
            HubFile(str(entry["Path"]), int(entry["Size"]), str(entry.get("Sha256", "")))
            for entry in _listed(data.get("Files"), repository)
            if entry.get("Type") != "tree"
        )
        return Listing(repository, "master", files)

    def address(self, listing: Listing, file: HubFile) -> str:
        """Name the file on the branch that was listed."""
        return (
            f"{self._endpoint}/api/v1/models/{quote(listing.repository)}/repo"
            f"?Revision={listing.revision}&FilePath={quote(file.path, safe='')}"
        )


def _listed(entries: Any, repository: str) -> list[Mapping[str, Any]]:
    if not isinstance(entries, list) or not all(isinstance(each, Mapping) for each in entries):
        raise UpstreamRejected(f"the hub's list of the files of {repository} cannot be read")
    return entries


def _json(client: httpx2.Client, address: str, repository: str) -> Any:
    try:
        return _get(client, address, repository).json()
    except ValueError as error:
        raise UpstreamRejected(f"the hub's answer about {repository} is not JSON") from error


def _get(client: httpx2.Client, address: str, repository: str) -> httpx2.Response:
    try:
        response = client.get(address)
    except httpx2.TransportError as error:
        raise unreachable(address, error) from error
    check_status(response, repository)
    return response


def unreachable(address: str, error: Exception) -> UpstreamUnavailable:
    """Say that a hub does not answer, and what can be done."""
    host = httpx2.URL(address).host
    return UpstreamUnavailable(
        f"{host} does not answer ({error or type(error).__name__}): check the network and the "
        "proxy, set HF_ENDPOINT to a mirror, take the other hub with --from, or copy the folder "
        "here and name it by its path. What was fetched is kept, and the next pull goes on from it"
    )


def check_status(response: httpx2.Response, repository: str) -> None:
    """
    Refuse an answer that is none.

    Raises:
        NotFound: If there is no such repository, or this user may not see it.
        UpstreamUnavailable: If the hub cannot answer now.
        UpstreamRejected: If it answers with something else.
    """
    status = response.status_code
    if status in (200, 206):
        return
    host = response.url.host
    if status in (401, 403, 404):
        # Hugging Face answers 401 also for a repository that does not exist.
        raise NotFound(
            f"{host} does not have {repository}, or shows it only to some: check the name; for one "
            f"that must be asked for, accept its terms there and set HF_TOKEN (status {status})"
        )
    if status == 429 or status >= 500:
        raise UpstreamUnavailable(
            f"{host} cannot give {repository} now (status {status}): try again later"
        )
    raise UpstreamRejected(f"{host} answers {status} for {repository}")
