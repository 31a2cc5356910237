"""
What the tower is trained on: packages by name, version and hash, with their licences.

    python sources.py DATA    # fetches with npm, checks, unpacks
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """A package of the npm registry."""

    package: str
    version: str
    sha256: str
    """Of the package's archive."""
    licence: str
    """As the package itself states it."""
    author: str
    style: str = ""
    """What its drawings are called here; none if it holds texts."""


SOURCES = (
    Source(
        "@iconify-json/noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0",
        "Google Inc",
        "noto",
    ),
    Source(
        "@iconify-json/noto-v1",
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "Apache-2.0",
        "Google Inc",
        "noto-v1",
    ),
    Source(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        "MIT",
        "Microsoft Corporation",
        "fluent",
    ),
    Source(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "MIT",
        "Microsoft Corporation",
        "fluent-flat",
    ),
    Source(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        "MIT",
        "Microsoft Corporation, packed by LobeHub",
        "fluent-3d",
    ),
    Source(
        "@iconify-json/emojione",
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "CC-BY-4.0",
        "Emoji One (EmojiTwo)",
        "emojione",
    ),
    Source(
        "@iconify-json/fxemoji",
        "1.2.2",
        "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        "Apache-2.0",
        "Mozilla",
        "fxemoji",
    ),
    Source(
        "@iconify-json/twemoji",
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "CC-BY-4.0",
        "Twitter",
        "twemoji",
    ),
    Source(
        "emojibase-data",
        "17.0.0",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        "MIT",
        "Miles Johnson; names and keywords from Unicode CLDR (Unicode-3.0)",
    ),
)

HELD_OUT = "twemoji"
"""The style that no training step sees; everything that is measured is measured on it."""


def folder_of(data: Path, source: Source) -> Path:
    """Say where a package lies once it is unpacked."""
    return data / "packages" / source.package.replace("@", "").replace("/", "-")


def fetch(data: Path) -> None:
    """
    Fetch every package that is not there, with npm as it is configured.

    Raises:
        ValueError: If an archive is not the one that the weights were trained on.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError("npm is missing: it comes with Node.js")
    for source in SOURCES:
        folder = folder_of(data, source)
        if folder.is_dir():
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        name = f"{source.package}@{source.version}"
        packed = subprocess.run(  # noqa: S603 - a fixed command with names from this file
            [npm, "pack", "--silent", name],
            cwd=folder.parent,
            check=True,
            capture_output=True,
            text=True,
        )
        archive = folder.parent / packed.stdout.split()[-1]
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != source.sha256:
            raise ValueError(f"{name} has the hash {digest}, not {source.sha256}")
        with tarfile.open(archive) as packed_files:
            packed_files.extractall(folder, filter="data")
        archive.unlink()
        print(f"{name}: {source.licence}, {source.author}")


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
