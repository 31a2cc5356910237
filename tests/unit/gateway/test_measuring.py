"""Calls of the Milvus port are counted by what came of them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import grpc
import pytest

from milvane.domain.errors import Overloaded
from milvane.gateway.measuring import RPCS, measuring
from milvane.instances.upstream import UpstreamStatus
from milvane.measures import Operation, Operations


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "ok"),
        (Overloaded("full", retry_after_s=1), "overloaded"),
        (UpstreamStatus(grpc.StatusCode.UNIMPLEMENTED, "no"), "upstream unimplemented"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyError("a defect"), "internal"),
    ],
)
def test_call_is_counted_once_by_its_end(error: BaseException | None, status: str) -> None:
    """Whatever ends a call is not held up."""
    operations = Operations()
    calls = ExitStack()
    calls.enter_context(measuring(operations, "Search"))
    kind = None if error is None else type(error)
    assert not calls.__exit__(kind, error, None)
    assert list(operations.view()) == [Operation("milvus", "Search", status)]


def test_names_that_clients_make_up_are_one() -> None:
    """Counting costs no memory for each name that somebody tries."""
    operations = Operations()
    for name in ("NoSuchCall", "NorThis"):
        with measuring(operations, name):
            pass
    ((operation, distribution),) = operations.view().items()
    assert (operation.name, sum(distribution.counts)) == ("unknown", 2)
    assert {"Insert", "HybridSearch", "Connect"} <= RPCS
