"""Weights that lie in this package, and serve what takes images until others are deployed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A small network that goes beside the default text model, in the package itself."""

    name: str
    version: str
    file: str
    """Its name in the folder of these weights."""
    sha256: str
    size_bytes: int
    licence: str
    width: int
    """Components of a vector, the text model's own."""
    text_weights: str
    """The text model whose vectors it was made for."""
    note: str
    """What everybody should know who uses it."""


EMBEDDED_PICTURES = Embedded(
    name="embedded-pictures",
    version="1",
    file="tower.safetensors",
    sha256="8e9443b0940a956e52c4cec51843a3082b4e06ed3d718127971fb2a4a9743597",
    size_bytes=9_418_888,
    licence="Apache-2.0",
    width=384,
    text_weights="all-minilm-l6-v2",
    note="a small tower that learned from pictograms and drawn scenes: it knows everyday things "
    "when they are drawn, and little of photographs",
)
