"""The bodies of the native dialect, as they are on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """A part of a request. What is not declared is ignored, as the hosted service does."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TextParameters(Body):
    """How texts are embedded; numbers may come as strings."""

    text_type: Literal["query", "document"] = Field(
        default="document", description="Why the texts are embedded."
    )
    dimension: int | None = Field(
        default=None,
        description="Width of the vectors; the model's default if absent. Models with a single "
        "dimension ignore it.",
    )
    output_type: Literal["dense", "sparse", "dense&sparse"] = Field(
        default="dense", description="Kinds of vectors."
    )
    instruct: str | None = Field(
        default=None,
        description="What the vectors are for, in English. Taken, and ignored by weights that "
        "follow no instructions; the usage says so.",
    )
    truncate: bool | None = Field(
        default=None,
        description="Cut texts above the model's limit instead of refusing them: an extra of "
        "this server, which reports what it cut; as the operator set it if absent.",
    )


class TextInput(Body):
    """What is embedded."""

    texts: str | list[str] = Field(
        description="One text or several.", examples=[["The quality of the clothes is excellent"]]
    )


class TextBody(Body):
    """A request to embed texts."""

    model: str = Field(description="A text model of the catalogue.", examples=["text-embedding-v4"])
    input: TextInput
    parameters: TextParameters = TextParameters()


Media = str | Annotated[list[str], Field(min_length=1)]
"""An address (http, https, oss), a data URI, or frames of a video as a list of those."""


class Content(Body):
    """One thing to embed: any of its parts may be absent, but not all."""

    text: str | None = None
    image: str | None = Field(default=None, description="URL or data URI.")
    video: Media | None = Field(default=None, description="URL, or URLs of frames.")
    multi_images: Annotated[list[str], Field(min_length=1)] | None = None
    audio: str | None = Field(default=None, description="Refused: no model here takes audio.")
    factor: float | None = Field(
        default=None, description="Weight within a fused vector; changes nothing here."
    )


class MultimodalParameters(Body):
    """How contents are embedded."""

    dimension: int | None = None
    output_type: Literal["dense"] = "dense"
    fps: float | None = Field(
        default=None, ge=0, le=1, description="Frames that are looked at of a second of a video."
    )
    instruct: str | None = Field(
        default=None, description="What the vectors are for, where the weights take that."
    )
    enable_fusion: bool = Field(default=False, description="One vector for all contents.")
    res_level: int | None = Field(
        default=None,
        ge=0,
        le=3,
        description="How closely an image is looked at: with at most 127, 402, 578 or 1026 tokens.",
    )
    max_video_frames: int | None = Field(
        default=None, ge=1, le=64, description="Frames that are looked at of a whole video."
    )
    auto_truncation: bool | None = Field(
        default=None, description="Cut texts above the model's limit instead of refusing them."
    )


class MultimodalInput(Body):
    """What is embedded."""

    contents: Annotated[list[Content | str], Field(min_length=1)] = Field(
        examples=[[{"text": "A cat on a sofa"}]]
    )


class MultimodalBody(Body):
    """A request to embed texts, images and videos."""

    model: str = Field(
        description="A multimodal model of the catalogue.", examples=["qwen3-vl-embedding"]
    )
    input: MultimodalInput
    parameters: MultimodalParameters = MultimodalParameters()


class Term(BaseModel):
    """One weighted term of a sparse vector."""

    index: int = Field(ge=0, lt=2**32)
    value: float
    token: str


class TextEmbedding(BaseModel):
    """The vectors of one text; what was not asked for is absent."""

    text_index: int
    embedding: list[float] | None = None
    sparse_embedding: list[Term] | None = None


class TextOutput(BaseModel):
    """The vectors, in the order of the texts."""

    embeddings: list[TextEmbedding]


class Notice(BaseModel):
    """What this server did to a request beside what was asked; present only if it did."""

    cut_inputs: list[int] | None = Field(
        default=None, description="Positions of the texts cut to the model's limit."
    )
    ignored: list[str] | None = Field(
        default=None, description="Parameters that changed nothing, as the weights have no such."
    )


class TextUsage(BaseModel):
    """What a request counts for."""

    total_tokens: int
    milvane: Notice | None = None


class TextAnswer(BaseModel):
    """The answer to a request to embed texts."""

    output: TextOutput
    usage: TextUsage
    request_id: str


class ContentEmbedding(BaseModel):
    """The vector of one content."""

    index: int
    embedding: list[float]
    type: str = Field(
        description="What the content is: `text`, `image`, `video`, `multi_images` or `fused`; of "
        "qwen3-vl-embedding `vl`, or `fusion` for several parts in one vector."
    )


class MultimodalOutput(BaseModel):
    """The vectors, in the order of the contents."""

    embeddings: list[ContentEmbedding]


class MultimodalUsage(BaseModel):
    """What a request counts for."""

    input_tokens: int = Field(description="Of texts, with the words that the model adds.")
    image_tokens: int = Field(description="Of images and videos.")
    total_tokens: int | None = Field(default=None, description="Only of qwen3-vl-embedding.")
    image_count: int | None = Field(default=None, description="Only of multimodal-embedding-v1.")
    duration: float | None = Field(
        default=None, description="Seconds of videos; only of multimodal-embedding-v1."
    )
    milvane: Notice | None = None


class MultimodalAnswer(BaseModel):
    """The answer to a request to embed contents."""

    output: MultimodalOutput
    usage: MultimodalUsage
    request_id: str


class ListedModel(BaseModel):
    """One model of the catalogue."""

    model: str
    source: str = "milvane"
    provider: str = "milvane"
    opensource: bool = Field(description="Open weights serve it here.")


class ModelPage(BaseModel):
    """A page of the catalogue."""

    models: list[ListedModel]
    page_no: int
    page_size: int
    total: int


class ModelsAnswer(BaseModel):
    """The answer to a look at the models."""

    request_id: str
    output: ModelPage


class ModelLimit(BaseModel):
    """Limits of one model; null where there is none."""

    request_limit: int | None = None
    request_limit_period: int | None = None
    usage_limit: int | None = None
    usage_limit_field: str | None = None
    usage_limit_period: int | None = None
    async_user_queue_limit: int | None = None
    async_user_concurrency_limit: int | None = None


class Quota(BaseModel):
    """The limits of one model."""

    model: str
    workspace_id: str = "default"
    model_limit: ModelLimit = ModelLimit()
    workspace_limit: ModelLimit | None = None


class QuotaPage(BaseModel):
    """A page of limits."""

    quotas: list[Quota]
    page_no: int
    page_size: int
    total: int


class QuotasAnswer(BaseModel):
    """The answer to a look at the limits."""

    request_id: str
    output: QuotaPage


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    code: str
    message: str
    request_id: str
