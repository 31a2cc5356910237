"""What a pulled folder holds and where it is from: written once, when all of it was checked."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from milvane.domain.errors import Conflict

MANIFEST_NAME = "milvane.json"


class ManifestFile(BaseModel):
    """One file, as it was when its hash was found right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Relative to the folder."""
    sha256: str
    size_bytes: int


class Manifest(BaseModel):
    """A folder's origin and contents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub: str
    repository: str
    revision: str
    files: tuple[ManifestFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files)

    def write(self, folder: Path) -> None:
        """Write it beside the files."""
        (folder / MANIFEST_NAME).write_text(self.model_dump_json(indent=2), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """
    Read a folder's manifest.

    Returns:
        Nothing if the folder has none.

    Raises:
        Conflict: If it cannot be read.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise Conflict(f"{path} cannot be read: pull the weights again") from error
