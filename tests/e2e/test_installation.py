"""What the default installation brings."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

HEAVY = {"torch", "sentence-transformers", "transformers", "onnxruntime", "tensorflow"}
MAX_BYTES = 850_000_000
"""Of which 106 MB are FFmpeg, for videos, and 20 MB Pillow, for images."""


def closure(name: str, found: dict[str, int]) -> dict[str, int]:
    """Collect what a package needs to run, with the bytes of each."""
    key = name.lower().replace("_", "-")
    if key in found:
        return found
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return found
    found[key] = sum(file.size or 0 for file in package.files or [])
    for line in package.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            closure(requirement.name, found)
    return found


def test_default_installation_is_small() -> None:
    """No tensor framework, and at most 850 MB in all."""
    packages = closure("milvane", {})
    assert {"milvus-lite", "pymilvus", "openvino"} <= packages.keys()
    assert not HEAVY & packages.keys()
    assert sum(packages.values()) < MAX_BYTES, sorted(packages.items(), key=lambda item: -item[1])
