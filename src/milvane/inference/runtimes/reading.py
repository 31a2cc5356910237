"""From a folder to a network and what follows it, by the family that its description names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from milvane.domain.errors import Conflict, Internal
from milvane.inference.encoders.recipe import Recipe
from milvane.inference.runtimes.families.bert import read_bert
from milvane.inference.runtimes.families.gte import read_gte
from milvane.inference.runtimes.families.modernbert import read_modernbert
from milvane.inference.runtimes.families.qwen3 import read_qwen3
from milvane.inference.runtimes.network import Head, Linear, Network, Projection
from milvane.inference.runtimes.stored import read_tensors

_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "*.bin", "*.pt")
"""What a network is read from."""

FAMILIES: Mapping[str, Callable[[Path], Network]] = MappingProxyType(
    {
        "bert": read_bert,
        "roberta": read_bert,
        "camembert": read_bert,
        "xlm-roberta": read_bert,
        "new": read_gte,
        "modernbert": read_modernbert,
        "qwen3": read_qwen3,
    }
)
"""By ``model_type``. What is not here runs through PyTorch, where that is installed."""


def read_family(folder: Path) -> str:
    """
    Read which family a folder's network is of.

    Raises:
        Conflict: If its description cannot be read.
    """
    path = folder / "config.json"
    try:
        family = json.loads(path.read_bytes())["model_type"]
    except OSError as error:
        raise Conflict(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Conflict(f"{path} does not say which family the network is of") from error
    return str(family)


def read_network(folder: Path) -> Network:
    """
    Read a network of any family that runs here.

    Raises:
        Conflict: If its family is not known, or its files are damaged.
    """
    family = read_family(folder)
    reader = FAMILIES.get(family)
    if reader is None:
        raise Conflict(
            f"{folder / 'config.json'} does not describe a network that runs here: model_type is "
            f"{family!r}, known are {', '.join(FAMILIES)}"
        )
    return reader(folder)


def reader_of(folder: Path) -> Callable[[], Network]:
    """
    Prepare to read a network, be it again when it has long been running.

    What is returned reads it as `read_network` does, and raises `Internal` once the files are not
    those any more that there are now.
    """
    before = _stamps(folder)

    def read() -> Network:
        if _stamps(folder) != before:
            raise Internal("the files of the weights have changed since they were loaded")
        return read_network(folder)

    return read


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    facts = {path.name: path.stat() for each in _FILES for path in folder.glob(each)}
    return {name: (each.st_ino, each.st_size, each.st_mtime_ns) for name, each in facts.items()}


def read_head(folder: Path, recipe: Recipe) -> Head:
    """
    Read what follows the network.

    Raises:
        Conflict: If a projection's files are damaged.
    """
    return Head(
        recipe.pooling,
        tuple(_projection(folder / each.folder, each.activation) for each in recipe.projections),
    )


def _projection(folder: Path, activation: str) -> Projection:
    tensors = read_tensors(folder)
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if weight is None or len(weight.shape) != 2:
        raise Conflict(f"{folder} holds no projection")
    if not (weight.is_finite() and (bias is None or bias.is_finite())):
        raise Conflict(f"{folder} holds numbers that are not finite")
    return Projection(Linear(weight, None if bias is None else bias.f32()), activation)
