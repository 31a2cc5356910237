"""Reads the credentials of a call as Milvus's clients send them."""

from __future__ import annotations

import base64

from milvane.domain.errors import Unauthenticated
from milvane.gateway.calls import Metadata


def read_token(metadata: Metadata) -> str:
    """
    Find the token of a call: ``user:password`` or an API key.

    Clients send it as ``authorization``, in base64.

    Returns:
        The decoded token; empty if there is none.

    Raises:
        Unauthenticated: If what is there is not base64 of UTF-8.
    """
    for key, value in metadata:
        if key == "authorization":
            try:
                return base64.b64decode(value, validate=True).decode()
            except ValueError as error:
                raise Unauthenticated("invalid token format") from error
    return ""
