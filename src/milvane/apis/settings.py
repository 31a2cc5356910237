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
    strict_limits: bool = Field(
        default=False,
        description="Refuse what the published contracts refuse: more inputs in one request than "
        "the model's batch limit, AI Search bodies above 8 MB, and for each tenant more than 1 "
        "asynchronous task per second or 50 unfinished ones, 20 calls on files per second, and per "
        "minute 1,000 batches created, looked at or cancelled, and 100 listings of them. Off, any "
        "number up to `max_inputs` is taken and split behind the scenes.",
    )
    nested_parameters: bool = Field(
        default=True,
        description="Read DashScope parameters also where some clients nest them: in "
        "`parameters.kwargs`, in `parameters.parameters`, and beside `parameters`. The hosted "
        "service ignores those, so llama-index's `text_type` works only with this on.",
    )
    limit_rates: bool = Field(
        default=True,
        description="Hold AI Search services to their published requests per second: 10 for the "
        "multimodal ones, 50 for the others, each service and tenant on its own, in this process.",
    )
    task_input_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins that input files of asynchronous tasks may be fetched from, such as "
        "`https://files.example.com`; none takes only files that were uploaded to this server.",
    )
