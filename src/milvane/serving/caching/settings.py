"""Settings of the cache of vectors."""

from __future__ import annotations

from pydantic import Field

from milvane.sections import Section


class CacheSettings(Section):
    """Vectors that are kept, so that a text is embedded once, here or by a provider."""

    enabled: bool = Field(
        default=True, description="Keep vectors; a text that was embedded before costs nothing."
    )
    max_memory_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=0,
        description="Vectors kept in memory, the last used ones, in bytes.",
    )
    max_disk_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=0,
        description="Vectors kept in `cache/` of the data directory, in bytes; the oldest make "
        "room. 0 keeps none there.",
    )
    share_between_tenants: bool = Field(
        default=False,
        description="Let tenants use each other's vectors. How fast an answer comes then tells a "
        "tenant that another one embedded the same text.",
    )
    off_for: tuple[str, ...] = Field(
        default=(),
        description="Weights and providers whose vectors are never kept, such as "
        '`["all-minilm-l6-v2", "openai"]`.',
    )
