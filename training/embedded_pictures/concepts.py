"""What the pictograms show: a concept for each sequence of code points, with names and keywords."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from sources import SOURCES, Source, folder_of

GROUPS_WITHOUT_OBJECTS = {2}
"""Components: skin tones and hair styles by themselves."""

FLAGS = 9
ANIMALS, FOOD, TRAVEL, ACTIVITIES, OBJECTS = 3, 4, 5, 6, 7
THINGS = (ANIMALS, FOOD, TRAVEL, ACTIVITIES, OBJECTS)
"""Groups whose members can be counted, coloured and put beside each other."""


@dataclass(frozen=True, slots=True)
class Concept:
    """Something that several styles draw."""

    code: str
    """Code points in lower-case hexadecimals, without variation selectors."""
    name: str
    keywords: tuple[str, ...]
    group: int
    """Of the table of names; letters and digits that no group lists are -1."""


def bare_code(code: str) -> str:
    """Spell a code point sequence as `Concept.code` does."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def read_concepts(data: Path) -> list[Concept]:
    """Read names and keywords, in the order of Unicode; skin tones are variants of one concept."""
    (names,) = (source for source in SOURCES if not source.style)
    table = folder_of(data, names) / "package" / "en" / "data.json"
    concepts = []
    for entry in json.loads(table.read_bytes()):
        if entry.get("group") in GROUPS_WITHOUT_OBJECTS:
            continue
        concepts.append(
            Concept(
                bare_code(entry["hexcode"]),
                entry["label"].replace("flag: ", "flag of "),
                tuple(entry.get("tags", ())),
                entry.get("group", -1),
            )
        )
    return concepts


class Finder:
    """Finds the concept of a drawing by what its package calls it."""

    def __init__(self, data: Path, concepts: list[Concept]) -> None:
        self._codes = {concept.code for concept in concepts}
        self._by_name: dict[str, str] = {}
        for source in SOURCES:
            chars = folder_of(data, source) / "package" / "chars.json"
            listed = json.loads(chars.read_bytes()) if chars.is_file() else {}
            for code, name in listed.items():
                self._learn(name, bare_code(code))
        for concept in concepts:
            if "-" not in concept.code:
                self._learn(unicodedata.name(chr(int(concept.code, 16)), ""), concept.code)
            self._learn(concept.name.replace("flag of ", "flag-"), concept.code)

    def find(self, name: str) -> str | None:
        """Find the code of a name or of a code point sequence; none if it is no concept's."""
        if bare_code(name) in self._codes:
            return bare_code(name)
        return self._by_name.get(_plain(name))

    def _learn(self, name: str, code: str) -> None:
        if name and code in self._codes:
            self._by_name[_plain(name)] = code


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]", "", letters)


def drawings_of(data: Path, source: Source, finder: Finder) -> dict[str, str | Path]:
    """
    Find a style's drawings.

    Returns:
        By concept code: an SVG document, or the path of a picture.
    """
    folder = folder_of(data, source) / "package"
    if (folder / "assets").is_dir():
        files = sorted((folder / "assets").glob("*.webp"))
        return {code: file for file in files if (code := finder.find(file.stem))}
    icons = json.loads((folder / "icons.json").read_bytes())
    found: dict[str, str | Path] = {}
    for name, icon in icons["icons"].items():
        code = finder.find(name)
        if code and code not in found and not icon.get("hidden"):
            width = icon.get("width", icons.get("width", 16))
            height = icon.get("height", icons.get("height", 16))
            found[code] = (
                '<svg xmlns="http://www.w3.org/2000/svg" '
                'xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}">'
                f"{icon['body']}</svg>"
            )
    return found
