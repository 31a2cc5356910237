"""
What the parameters of an embedding function ask for: a provider, a model, and its vectors.

Pure. Wording follows Milvus's text embedding runner, since clients and tests match on it.
"""

from __future__ import annotations

from collections.abc import Mapping

from milvane.domain.catalogue import MODELS
from milvane.domain.errors import InvalidInput
from milvane.domain.models import Model, ModelName, Output
from milvane.domain.providers import ProviderFunction, VectorField, VectorKind
from milvane.domain.secrecy import find_raw_secret
from milvane.gateway.settings import Compat
from milvane.gateway.translate.functions import FAIL, ON_ERROR, PROVIDER, SKIP
from milvane.serving.ports import RemoteProviders

OUTPUT_PARAM = "output_type"
"""Which vectors a model here makes: `dense`, the default, or `sparse`."""


def resolve_model(
    params: Mapping[str, str],
    field: VectorField,
    providers: RemoteProviders,
    *,
    compat: Compat = "2.6",
) -> str:
    """
    Find the model that a function's parameters name, and check that it can fill the field.

    Args:
        params: With keys in lower case.

        field: What the function fills.

        providers: Whom functions may name beside this service itself.

        compat: Which version of Milvus the wording is of.

    Returns:
        The model's name; empty where the provider needs none.

    Raises:
        InvalidInput: With Milvus's message for the first rule that is broken.
    """
    provider = _provider(params, providers)
    _refuse_raw_secrets(params)
    if provider == PROVIDER:
        return _resolve_here(params, field, compat)
    if field.kind is VectorKind.SPARSE or "sparse" in params.get(OUTPUT_PARAM, "").lower():
        raise InvalidInput(
            f"the provider [{provider}] has no sparse vectors, only [{PROVIDER}] has: "
            f"field {field.name}"
        )
    providers.check(ProviderFunction(provider, params, field))
    return params.get("model_name", "")


def _resolve_here(params: Mapping[str, str], field: VectorField, compat: Compat) -> str:
    """Find one of this service's own models."""
    made = _made_here(params)
    if made is not field.kind:
        raise InvalidInput(_kinds_differ(made, field))
    model = _model(params)
    _check_policy(params, model)
    requested = _requested_dimension(params)
    if made is VectorKind.SPARSE:
        _check_sparse(model, requested)
    else:
        _check_dimension(model, requested, field, compat)
    return model.name


def _check_policy(params: Mapping[str, str], model: Model) -> None:
    """Refuse what a function cannot do with a row whose value cannot be embedded."""
    policy = params.get(ON_ERROR, FAIL).lower()
    if policy == "null":
        raise InvalidInput(
            f"the function parameter [{ON_ERROR}:null] is not supported: Milvus lets no output "
            f"field of a function be nullable; only supports: [{FAIL}, {SKIP}]"
        )
    if policy not in (FAIL, SKIP):
        raise InvalidInput(
            f"the function parameter [{ON_ERROR}:{policy}] is not supported, only supports: "
            f"[{FAIL}, {SKIP}]"
        )
    if policy == SKIP and model.is_text_only:
        raise InvalidInput(
            f"the function parameter [{ON_ERROR}:{SKIP}] is for models that take images and "
            f"videos, and [{model.name}] takes texts alone"
        )


def _made_here(params: Mapping[str, str]) -> VectorKind:
    asked = params.get(OUTPUT_PARAM, "dense").lower()
    if asked not in ("dense", "sparse"):
        raise InvalidInput(
            f"the function parameter [{OUTPUT_PARAM}:{asked}] is not supported, only supports: "
            "[dense, sparse]; for both, bind two functions to the same text"
        )
    return VectorKind.SPARSE if asked == "sparse" else VectorKind.FLOAT


def _kinds_differ(made: VectorKind, field: VectorField) -> str:
    advice = ""
    if field.kind is VectorKind.SPARSE:
        advice = f'; add the function parameter "{OUTPUT_PARAM}": "sparse"'
    return (
        "embedding model output and field type mismatch, model output is "
        f"{made.value}, field type is {field.kind.value}: field {field.name}{advice}"
    )


def _check_sparse(model: Model, requested: int | None) -> None:
    if Output.SPARSE not in model.outputs:
        known = ", ".join(each.name for each in MODELS.values() if Output.SPARSE in each.outputs)
        raise InvalidInput(
            f"the model [{model.name}] has no sparse vectors, list of those that have [{known}]"
        )
    if requested is not None:
        raise InvalidInput('sparse vectors have no dimension: leave the parameter "dim" out')


def _check_dimension(
    model: Model, requested: int | None, field: VectorField, compat: Compat
) -> None:
    wanted = field.dimension
    if requested is not None and requested != wanted:
        start, end = ("Function", ".") if compat == "2.6" else ("function", "")
        raise InvalidInput(
            f"{start} output field:[{field.name}]'s dimension [{wanted}] does not match the "
            f"dimension [{requested}] provided in Function params{end}"
        )
    if requested is not None and requested not in model.dimensions:
        raise InvalidInput(
            f"model {model.name} does not offer dimension [{requested}], it offers "
            f"[{model.dimensions}]: field {field.name}"
        )
    if requested is None and wanted != model.default_dimension:
        advice = (
            f'; add the function parameter "dim": "{wanted}"' if wanted in model.dimensions else ""
        )
        raise InvalidInput(
            f"the required embedding dim is [{wanted}], but the embedding obtained from the model "
            f"is [{model.default_dimension}]: field {field.name}, model {model.name}, which "
            f"offers [{model.dimensions}]{advice}"
        )


def _provider(params: Mapping[str, str], providers: RemoteProviders) -> str:
    if "provider" not in params:
        raise InvalidInput("the text embedding service provider parameter:[provider] was not found")
    provider = params["provider"].lower()
    supported = (PROVIDER, *providers.names)
    if provider not in supported:
        raise InvalidInput(
            f"unsupported text embedding service provider: [{provider}] , "
            f"list of supported [{', '.join(supported)}]"
        )
    return provider


def _refuse_raw_secrets(params: Mapping[str, str]) -> None:
    key = find_raw_secret(params)
    if key is not None:
        raise InvalidInput(
            f"the function parameter [{key}] looks like a raw key, which everybody who describes "
            "the collection could read: put the key under `credential:` in milvus.yaml, and give "
            'its label in the function parameter "credential"'
        )


def _model(params: Mapping[str, str]) -> Model:
    known = ", ".join(MODELS)
    if "model_name" not in params:
        raise InvalidInput(
            f"the embedding model parameter:[model_name] was not found, list of supported [{known}]"
        )
    model = MODELS.get(ModelName(params["model_name"]))
    if model is None:
        raise InvalidInput(
            f"unsupported embedding model: [{params['model_name']}] , list of supported [{known}]"
        )
    return model


def _requested_dimension(params: Mapping[str, str]) -> int | None:
    """Read `dim`; 0 means that none is asked for, as in Milvus."""
    text = params.get("dim")
    if text is None:
        return None
    try:
        dimension = int(text)
    except ValueError as error:
        raise InvalidInput(
            f"dimension [{text}] provided in Function params is not a valid int"
        ) from error
    return dimension or None
