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
