"""
Sets of weights that the catalogue does not list file by file: pulled from a hub, or named by path.

What they are is read from their own files; for those that the catalogue knows by name, it must be
what the catalogue says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from milvane.domain.catalogue import (
    HUB_WEIGHTS,
    WEIGHTS,
    Weights,
    WeightsFile,
    WeightsName,
)
from milvane.domain.errors import Conflict, NotFound
from milvane.inference.contents import describing
from milvane.inference.encoders.recipe import Recipe, read_recipe
from milvane.inference.manifest import MANIFEST_NAME, Manifest, read_manifest
from milvane.inference.self_test import GOLDEN_NAME
from milvane.inference.weights import CHUNK_BYTES, STAMP_NAME, known_hash

MAX_WINDOW_TOKENS = 8192
"""Longer texts are embedded in several windows, also where a network has positions for more."""

_WIDTH_KEYS = ("hidden_size", "dim", "d_model", "n_embd")
USUAL_WINDOW_TOKENS = 512
"""Of networks that say no length of their own."""

_OUR_OWN = (MANIFEST_NAME, STAMP_NAME, GOLDEN_NAME)
_TENSORS = ("*.safetensors", "*.bin", "m2_encoder*.ckpt")
_SETTINGS = (
    "*.json", "*/config.json", "*/*.safetensors", "*/*.bin", "*.pt", "*.model", "*/*/sp.model",
)  # fmt: skip


def folder_name(name: str) -> str:
    """
    Say what the folder of a hub's repository is called.

    Args:
        name: A name of the catalogue, or ``organisation/name``.
    """
    return name.replace("/", "--")


def find_set(name: str, weights_dir: Path) -> Weights:
    """
    Find a set of weights by what an operator calls it.

    Args:
        name: A name of the catalogue, a hub's ``organisation/name``, or the path of a folder.

        weights_dir: Where sets live.

    Raises:
        NotFound: If it is not here; the message says how to get it.

        Conflict: If it is here, but cannot be what it is called.
    """
    if name in WEIGHTS:
        return WEIGHTS[WeightsName(name)]
    folder = weights_dir / folder_name(name)
    if not name.startswith((".", "/", "~")) and (folder / MANIFEST_NAME).is_file():
        return _describe(name, folder)
    path = Path(name).expanduser().resolve()
    if "/" in name and path.is_dir():
        return _describe(name, path)
    if name.startswith((".", "/", "~")):
        raise NotFound(f"there is no folder {path}")
    raise NotFound(f"the weights {name} are not in {weights_dir}: run `milvane models pull {name}`")


def is_installed(name: str, weights_dir: Path) -> bool:
    """Say whether a hub's set is here, without reading it."""
    return (weights_dir / folder_name(name) / MANIFEST_NAME).is_file()


def installed_names(weights_dir: Path) -> list[str]:
    """List the sets that were pulled from hubs, by the names to call them."""
    return sorted(
        manifest.parent.name.replace("--", "/", 1)
        for manifest in weights_dir.glob(f"[!.]*/{MANIFEST_NAME}")
    )


def _describe(name: str, folder: Path) -> Weights:
    family = describing.family_of(folder)
    if family is not None:
        return _describe_pictures(name, folder, family)
    recipe = read_recipe(folder)
    config = _read(folder / "config.json")
    manifest = read_manifest(folder)
    weights = Weights(
        name=WeightsName(name),
        package=f"{manifest.hub}:{manifest.repository}" if manifest else str(folder),
        version=_version(manifest) if manifest else "local",
        licence="see its own files",
        files=tuple(_files(folder, manifest)),
        folder=str(folder),
        family=recipe.family,
        width=_width(folder, config, recipe),
        window_tokens=_window_tokens(config, recipe),
    )
    _compare(weights, recipe.pooling)
    return weights


def _describe_pictures(name: str, folder: Path, family: str) -> Weights:
    manifest = read_manifest(folder)
    if manifest:
        _refuse_generator(manifest.repository, family)
    weights = Weights(
        name=WeightsName(name),
        package=f"{manifest.hub}:{manifest.repository}" if manifest else str(folder),
        version=_version(manifest) if manifest else "local",
        licence="see its own files",
        files=tuple(_files(folder, manifest)),
        folder=str(folder),
        family=family,
        width=describing.width_of(folder, family),
        window_tokens=describing.positions_of(folder, family),
    )
    _compare(weights, describing.POOLINGS.get(family, ""))
    return weights


def _refuse_generator(repository: str, family: str) -> None:
    """Refuse the chat model that an embedding model was made of: its vectors mean nothing."""
    mark = describing.EMBEDDING_MARKS.get(family)
    if mark and mark not in repository.rpartition("/")[2].lower():
        raise Conflict(
            f"{repository} writes texts and was not trained to embed: take one of "
            f"{', '.join(each for each, known in HUB_WEIGHTS.items() if known.family == family)}"
        )


def _compare(weights: Weights, pooling: str) -> None:
    """Refuse what cannot be what its name says."""
    expected = HUB_WEIGHTS.get(weights.name)
    if expected is None:
        return
    found = (weights.family, pooling, weights.width)
    wanted = (expected.family, expected.pooling, expected.width)
    if found != wanted:
        raise Conflict(
            f"{weights.folder} is not {expected.name}: family, pooling and width are {found}, and "
            f"should be {wanted}; run `milvane models pull {expected.name}`"
        )


def _version(manifest: Manifest) -> str:
    """Name a version by what the files are: a branch's name says nothing."""
    lines = [f"{file.name} {file.sha256}" for file in manifest.files]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]


def _files(folder: Path, manifest: Manifest | None) -> Iterator[WeightsFile]:
    if manifest is not None:
        for file in manifest.files:
            yield WeightsFile(
                path=file.name, name=file.name, sha256=file.sha256, size_bytes=file.size_bytes
            )
        return
    paths = {path for pattern in (*_TENSORS, *_SETTINGS) for path in folder.glob(pattern)}
    for path in sorted(paths):
        name = str(path.relative_to(folder))
        if name not in _OUR_OWN:
            sha256 = known_hash(folder, name) or _hash(path)
            size_bytes = path.stat().st_size
            yield WeightsFile(path=name, name=name, sha256=sha256, size_bytes=size_bytes)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
        return digest.hexdigest()


def _width(folder: Path, config: dict[str, object], recipe: Recipe) -> int:
    if recipe.projections:
        last = _read(folder / recipe.projections[-1].folder / "config.json")
        return _number(last, "out_features", folder)
    key = next((each for each in _WIDTH_KEYS if each in config), _WIDTH_KEYS[0])
    return _number(config, key, folder)


def _window_tokens(config: dict[str, object], recipe: Recipe) -> int:
    """Choose a window that the network has positions for, also when it is rounded up."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        positions = recipe.window_tokens or USUAL_WINDOW_TOKENS
    if recipe.family in ("roberta", "camembert", "xlm-roberta"):
        positions -= 2
    longest = min(positions, recipe.window_tokens or positions, MAX_WINDOW_TOKENS)
    return longest // 16 * 16 if longest >= 16 else longest


def _number(config: dict[str, object], key: str, folder: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value < 1:
        raise Conflict(f"{folder} does not say {key}")
    return value


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Conflict(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise Conflict(f"{path} holds no settings")
    return content
