"""Settings of the embedding use case."""

from __future__ import annotations

from pydantic import Field

from milvane.sections import Section


class ServingSettings(Section):
    """What an input may be."""

    cut_long_inputs: bool = Field(
        default=False,
        description="Cut inputs above the model's token limit instead of refusing them.",
    )
    max_inputs: int = Field(
        default=16_384,
        ge=1,
        description="Inputs that one HTTP request may hold; rows and queries at the Milvus port "
        "have Milvus's limits.",
    )
    max_contents_at_once: int = Field(
        default=64,
        ge=1,
        description="Contents with images or videos, of all callers, that are decoded and embedded "
        "at once; a quarter of the places is kept for searches.",
    )
    max_pixel_bytes: int = Field(
        default=512 * 1024 * 1024,
        ge=1024 * 1024,
        description="Memory of the decoded images and videos of these, in bytes; one that is "
        "larger is worked on alone.",
    )
    max_fetches_per_request: int = Field(
        default=8,
        ge=1,
        description="Images and videos of one request that are fetched at once.",
    )
