"""The bodies of the OpenAI dialect, as they are on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True)]
"""A text in the vocabulary cl100k."""


class EmbeddingsBody(BaseModel):
    """A request to embed. What is not declared here is ignored, as the hosted service does."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", title="EmbeddingsBody")

    model: str = Field(
        max_length=256, description="A model of the catalogue.", examples=["text-embedding-v4"]
    )
    # fail_fast: a body of a million numbers must not become a million errors.
    input: (
        str
        | Annotated[list[str], Field(fail_fast=True)]
        | TokenIds
        | Annotated[list[TokenIds], Field(fail_fast=True)]
    ) = Field(
        description="One text or several; each may be a list of token ids of cl100k, which is "
        "turned back into the text (`milvane models pull cl100k`).",
        examples=["The quality of the clothes is excellent"],
    )
    dimensions: int | None = Field(
        default=None, description="Width of the vectors; the model's default if absent."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None,
        description="Numbers, or little-endian float32 in base64; numbers if absent.",
    )
    user: str | None = Field(default=None, description="Taken and not used.")
    text_type: Literal["query", "document"] | None = Field(
        default=None,
        description="Why the texts are embedded: an extra of this server; document if absent.",
    )
    instruct: str | None = Field(
        default=None,
        description="What the vectors are for, in English: an extra of this server. Weights that "
        "follow no instructions for this `text_type` ignore it, and the answer says so.",
    )
    truncate: bool | None = Field(
        default=None,
        description="Cut inputs above the model's limit instead of refusing them: an extra of "
        "this server, which reports what it cut; as the operator set it if absent.",
    )


class Usage(BaseModel):
    """What a request counts for."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Notice(BaseModel):
    """What this server did beside what was asked; present only if it did."""

    cut_inputs: list[int] | None = Field(
        default=None, description="Positions of the inputs cut to the model's limit."
    )
    ignored: list[str] | None = Field(
        default=None, description="Parameters that changed nothing, as the weights have no such."
    )


class EmbeddingsAnswer(BaseModel):
    """The vectors, in the order of the inputs."""

    object: Literal["list"]
    data: list[EmbeddingAnswer]
    model: str
    usage: Usage
    id: str
    milvane: Notice | None = None


class Serving(BaseModel):
    """What stands behind a model here: an extra of this server."""

    weights: str | None = Field(
        description="The weights that really compute the vectors; null if nothing here does."
    )
    description: str
    dimensions: str
    default_dimension: int
    max_input_tokens: int


class ModelCard(BaseModel):
    """One model of the catalogue."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(default=0, description="No date of a model is kept: always 0.")
    owned_by: str = "milvane"
    milvane: Serving


class ModelList(BaseModel):
    """The catalogue."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail
    id: str
    request_id: str
