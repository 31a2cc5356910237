"""Which weights servers keep in memory: commands, each with its entry in the log."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select

from milvane.control_plane.commands import Change
from milvane.domain.errors import NotFound
from milvane.storage.control_tables import UNLOADED_WEIGHTS


def switch_weights(change: Change, weights: str, *, on: bool, deployed: Collection[str]) -> None:
    """
    Have every server load weights, or unload them once the work under way has ended.

    Args:
        change: The transaction.

        weights: Their name.

        on: Whether they are to be in memory.

        deployed: Those that serve a model by the settings.

    Raises:
        NotFound: If the weights serve no model.
    """
    is_unloaded = weights in list_unloaded(change.connection)
    if weights not in deployed and not (on and is_unloaded):
        raise NotFound(
            f"no model is served by weights {weights!r}; there are: {', '.join(sorted(deployed))}"
        )
    if on != is_unloaded:
        return
    if on:
        change.connection.execute(
            delete(UNLOADED_WEIGHTS).where(UNLOADED_WEIGHTS.c.weights == weights)
        )
    else:
        change.connection.execute(
            insert(UNLOADED_WEIGHTS).values(weights=weights, unloaded_at=change.now)
        )
    change.note("weights.load" if on else "weights.unload", weights)


def list_unloaded(connection: Connection) -> frozenset[str]:
    """List the weights that no server is to keep in memory."""
    return frozenset(connection.execute(select(UNLOADED_WEIGHTS.c.weights)).scalars())
