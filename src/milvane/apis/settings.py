"""Settings of the HTTP APIs."""

from pydantic import Field

from milvane.sections import Section


class ApisSettings(Section):
    """What one HTTP request may hold."""

    max_body_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        description="Largest request body, in bytes; a larger one is refused while it arrives.",
    )
    max_inputs: int = Field(
        default=2048,
        ge=1,
        description="Inputs of one embeddings request. What the models take at once is no limit.",
    )
