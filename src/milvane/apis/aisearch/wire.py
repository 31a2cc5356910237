"""The bodies of the AI Search dialect, as they are on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """A request. What is not declared is ignored, as the hosted service does."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


Texts = str | Annotated[list[str], Field(fail_fast=True)]


class TextBody(Body):
    """A request to embed texts."""

    input: Texts = Field(description="One text or several.", examples=[["Science and technology"]])
    input_type: Literal["query", "document"] = Field(
        default="document", description="Why the texts are embedded."
    )


class SparseBody(TextBody):
    """A request to weigh the terms of texts."""

    return_token: bool = Field(default=False, description="Say the terms, not only their ids.")


class Content(Body):
    """A text, an image, or where the model takes it, both together."""

    text: str | None = None
    image: str | None = Field(default=None, description="URL or data URI.")


class MultimodalBody(Body):
    """A request to embed contents."""

    input: Annotated[list[Content], Field(fail_fast=True)] = Field(
        examples=[[{"text": "A cat on a sofa"}]]
    )


class TextUsage(BaseModel):
    """What a request counts for."""

    token_count: int


class MultimodalUsage(TextUsage):
    """What a request counts for."""

    image: int = Field(description="Images.")
    image_token: int
    text_token: int


class Notice(BaseModel):
    """What this server did to the inputs; present only if it cut some."""

    cut_inputs: list[int] = Field(description="Positions of the inputs cut to the model's limit.")


class Vector(BaseModel):
    """The vector of one input."""

    index: int
    embedding: list[float]


class Vectors(BaseModel):
    """The vectors, in the order of the inputs."""

    embeddings: list[Vector]


class Term(BaseModel):
    """One weighted term."""

    token_id: int = Field(ge=0, lt=2**32)
    weight: float
    token: str | None = Field(default=None, description="Absent unless asked for.")


class SparseVectorAnswer(BaseModel):
    """The weighted terms of one input."""

    index: int
    embedding: list[Term]


class SparseVectors(BaseModel):
    """The weighted terms, in the order of the inputs."""

    sparse_embeddings: list[SparseVectorAnswer]


class _Answer(BaseModel):
    request_id: str
    latency: int = Field(description="In milliseconds.")
    milvane: Notice | None = None


class TextAnswer(_Answer):
    """The answer to a request to embed texts."""

    usage: TextUsage
    result: Vectors


class SparseAnswer(_Answer):
    """The answer to a request to weigh terms."""

    usage: TextUsage
    result: SparseVectors


class MultimodalAnswer(_Answer):
    """The answer to a request to embed contents."""

    usage: MultimodalUsage
    result: Vectors


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    request_id: str
    latency: int
    code: str
    message: str
