"""Settings of the Milvus-protocol front door."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from milvane.sections import Section

Compat = Literal["2.6", "3.0"]
"""A version of Milvus whose codes and rules clients may rely on."""

OtherWeights = Literal["refuse", "warn", "ignore"]
"""What to do where vectors would not mix."""


class GatewaySettings(Section):
    """How the gateway listens, and what it holds."""

    compat: Compat = Field(
        default="2.6",
        description="Version of Milvus whose rules for functions, wording and error codes clients "
        "get: `2.6` or `3.0`.",
    )
    other_weights: OtherWeights = Field(
        default="refuse",
        description="What happens to a collection that was bound while other weights served its "
        "model, as vectors of the two do not mix: `refuse` rows and searches, `warn` in the log, "
        "or `ignore`. Altering the function binds the weights that serve the model now.",
    )
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
    rest: bool = Field(
        default=True,
        description="Serve REST v2 (`/v2/vectordb/...`) on the Milvus port beside gRPC, as Milvus "
        "does. Off, the port speaks gRPC alone, and a call is a little faster.",
    )
    sniff_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="How long a new connection may take to show whether it is gRPC or HTTP, in "
        "seconds.",
    )
    max_rest_body_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        description="Largest REST request body, in bytes; a larger one is refused as it arrives.",
    )
