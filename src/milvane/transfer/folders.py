"""A folder as a place to copy from and to: one JSON file and Parquet files per collection."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from milvane.domain.errors import Conflict, InvalidInput, NotFound
from milvane.instances.lite.journal import CollectionKey
from milvane.transfer.collections import Collection, from_document, to_document
from milvane.transfer.columns import Digest, Key, Page, digest_of
from milvane.transfer.tables import to_page, to_table

MARKER = "milvane-export.json"
DESCRIPTION = "collection.json"

_PAGE_BYTES = 16 << 20
_FORMAT = 1
_PLAIN = re.compile(r"[A-Za-z0-9_]+")


def make_folder(folder: Path) -> None:
    """
    Make a folder that collections can be exported to.

    Raises:
        Conflict: If it holds something else.
    """
    if (folder / MARKER).exists():
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} holds something else: choose a folder that is empty or missing")
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / MARKER, {"format": _FORMAT})


class FolderPlace:
    """An exported folder."""

    page_bytes = _PAGE_BYTES

    def __init__(self, folder: Path) -> None:
        """
        Name the folder; nothing is made yet.

        Args:
            folder: Where collections are, or are to be.
        """
        self._folder = folder
        self.name = f"the folder {folder}"

    def keys(self) -> list[CollectionKey]:
        """
        List the collections.

        Raises:
            NotFound: If it is no exported folder.
        """
        if not (self._folder / MARKER).is_file():
            raise NotFound(f"{self._folder} is no exported folder: it has no {MARKER}")
        found = (from_document(_read(path)) for path in self._folder.glob(f"*/*/{DESCRIPTION}"))
        return sorted(each.key for each in found)

    def describe(self, key: CollectionKey) -> Collection:
        """
        Describe a collection.

        Raises:
            NotFound: If there is none.
        """
        path = self._home(key) / DESCRIPTION
        if not path.is_file():
            raise NotFound(f"{self.name} has no collection {key}")
        return from_document(_read(path))

    def count(self, collection: Collection) -> int:
        """Count the rows of a collection."""
        files = self._home(collection.key).glob("*.parquet")
        return sum(int(pq.read_metadata(path).num_rows) for path in files)

    def pages(
        self,
        collection: Collection,
        partition: str,
        *,
        after: Key | None,
        max_bytes: int,
    ) -> Iterator[Page]:
        """Read a partition's rows in the order of their keys; see `Source`."""
        primary = collection.primary.name
        limit = collection.rows_within(max_bytes)
        for path in self._files(collection.key, partition):
            table = _read_table(path)
            if after is not None:
                keys = table.column(primary).to_pylist()
                table = table.slice(
                    next((i for i, key in enumerate(keys) if key > after), len(keys))
                )
            for start in range(0, table.num_rows, limit):
                page = to_page(table.slice(start, limit), primary)
                if page is not None:
                    yield page

    def refuse_existing(self, key: CollectionKey) -> None:
        """See that a name is free; see `Target`."""
        if self._home(key).exists():
            raise Conflict(
                f"{self.name} has a collection {key} already: delete it, or choose another folder"
            )

    def prepare(self, collection: Collection) -> None:
        """Make a collection's folder and describe the collection; see `Target`."""
        home = self._home(collection.key)
        home.mkdir(parents=True, exist_ok=True)
        _write(home / DESCRIPTION, to_document(collection))

    def rewind(self, collection: Collection, partition: str, *, after: Key | None) -> None:
        """Do nothing: a page that is written again takes its own file's place."""

    def write(self, collection: Collection, partition: str, page: Page, *, number: int) -> None:
        """Write rows as a file of their own; see `Target`."""
        path = self._home(collection.key) / f"rows-{_safe(partition)}-{number:06d}.parquet"
        draft = path.with_suffix(".tmp")
        pq.write_table(to_table(page), draft, compression="zstd")
        draft.replace(path)

    def finish(self, collection: Collection) -> list[str]:  # noqa: ARG002 - of the port
        """Do nothing: all that rows do not need is in the description."""
        return []

    def digest(self, collection: Collection) -> Digest | None:
        """Read all rows back; see `Target`."""
        total = Digest()
        for partition in collection.partitions:
            for page in self.pages(collection, partition, after=None, max_bytes=_PAGE_BYTES):
                total += digest_of(page)
        return total

    def _home(self, key: CollectionKey) -> Path:
        return self._folder / _safe(key.database) / _safe(key.name)

    def _files(self, key: CollectionKey, partition: str) -> list[Path]:
        return sorted(self._home(key).glob(f"rows-{_safe(partition)}-??????.parquet"))


def _safe(name: str) -> str:
    """Take a name as that of a file; Milvus allows letters, digits and underscores only."""
    if not _PLAIN.fullmatch(name):
        raise InvalidInput(f"{name!r} is not a name that Milvus allows")
    return name


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    return document


def _write(path: Path, document: dict[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    draft.replace(path)


def _read_table(path: Path) -> Any:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
