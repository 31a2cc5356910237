"""Which hub is asked, at which address, as whom: read from the variables that people know."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import httpx2

from milvane.domain.catalogue import HUB_WEIGHTS, WeightsName
from milvane.domain.errors import InvalidInput
from milvane.inference.hub_downloads import HubSource
from milvane.inference.hubs import HUGGING_FACE, MODEL_SCOPE, TIMEOUT, HuggingFace, ModelScope

HUGGING_FACE_ENDPOINT = "https://huggingface.co"
MODEL_SCOPE_ENDPOINT = "https://www.modelscope.cn"


def open_hub_client(*, token: str | None) -> httpx2.Client:
    """
    Open what asks a hub.

    Args:
        token: Sent to the hub; not to the storage that it redirects to.
    """
    headers = {"User-Agent": f"milvane/{version('milvane')}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx2.Client(headers=headers, timeout=TIMEOUT, follow_redirects=True)


def usual_hub(name: str) -> str:
    """Say where a set of weights is fetched unless somebody says it."""
    known = HUB_WEIGHTS.get(WeightsName(name))
    return MODEL_SCOPE if known and not known.repository else HUGGING_FACE


def open_source(name: str, hub: str, environment: Mapping[str, str]) -> HubSource:
    """
    Say where a set of weights is fetched.

    Args:
        name: One of the catalogue, or ``organisation/name``.

        hub: ``huggingface`` or ``modelscope``.

        environment: ``HF_ENDPOINT`` and ``HF_TOKEN``, or ``MODELSCOPE_ENDPOINT``.

    Raises:
        InvalidInput: If the name cannot be a repository's, or there is no such hub.
    """
    known = HUB_WEIGHTS.get(WeightsName(name))
    if known is None and name.count("/") != 1:
        raise InvalidInput(
            f"{name!r} is no model, and no repository of a hub: name one as organisation/name, or "
            f"take one of {', '.join(HUB_WEIGHTS)}"
        )
    if hub == HUGGING_FACE:
        if known and not known.repository:
            raise InvalidInput(f"{name} is not on Hugging Face: pull it with --from {MODEL_SCOPE}")
        client = open_hub_client(token=environment.get("HF_TOKEN"))
        endpoint = environment.get("HF_ENDPOINT") or HUGGING_FACE_ENDPOINT
        repository = known.repository if known else name
        return HubSource(HuggingFace(client, endpoint), client, repository)
    if hub == MODEL_SCOPE:
        client = open_hub_client(token=None)
        endpoint = environment.get("MODELSCOPE_ENDPOINT") or MODEL_SCOPE_ENDPOINT
        repository = known.modelscope if known else name
        return HubSource(ModelScope(client, endpoint), client, repository)
    raise InvalidInput(f"{hub!r} is no hub: take {HUGGING_FACE} or {MODEL_SCOPE}")
