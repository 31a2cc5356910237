"""What a path of REST v2 is, and the paths that are one call and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from milvane.gateway.rest_v2.session import Session, cost_of
from milvane.gateway.rest_v2.wire import Body

Answer = dict[str, Any]
"""What is sent beside ``"code": 0``."""
BodyType = TypeVar("BodyType", bound=Body)


@dataclass(frozen=True, slots=True)
class Path:
    """One path: what it takes, which RPCs it makes, and how it is answered."""

    body: type[Body]
    rpcs: tuple[str, ...]
    answer: Callable[[Session, Any], Awaitable[Answer]]


def nothing(_reply: Any) -> Any:
    """Answer with an empty object."""
    return {}


def one_call(
    rpc: str,
    body: type[BodyType],
    build: Callable[[BodyType, str], Message],
    read: Callable[[Any], Any] = nothing,
) -> Path:
    """
    Make a path of one RPC.

    Args:
        rpc: Its short name.

        body: What the path takes.

        build: Writes the request, given the body and the database.

        read: Writes the reply as JSON.
    """

    async def answer(session: Session, given: BodyType) -> Answer:
        reply = await session.call(rpc, build(given, session.database))
        return {"data": read(reply), "cost": cost_of(reply)}

    return Path(body, (rpc,), answer)
