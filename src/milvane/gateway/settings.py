"""Settings of the Milvus-protocol front door."""

from __future__ import annotations

from pydantic import Field

from milvane.sections import Section


class GatewaySettings(Section):
    """How the gateway listens, and what it holds."""

    max_message_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024,
        description="Largest request or reply; a larger one is refused, in bytes.",
    )
    max_cached_collections: int = Field(
        default=4096, ge=1, description="Collections whose functions are kept in memory."
    )
    drain_timeout_s: float = Field(
        default=4.0, ge=0, description="How long running calls may finish at shutdown, in seconds."
    )
