"""Failures in Milvus's dialect."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from milvane.domain.errors import ErrorKind, InvalidInput, Overloaded
from milvane.gateway.errors import (
    TABLES,
    CollectionNotFound,
    Row,
    SchemaMismatch,
    to_reply,
    to_status,
)


@pytest.mark.parametrize("kind", ErrorKind)
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_error_speaks_milvus(table: Mapping[ErrorKind, Row], kind: ErrorKind) -> None:
    """No failure is told as a success, in either of the two fields that clients read."""
    assert table[kind].code != 0
    assert table[kind].legacy_code != 0


def test_bad_input_has_a_code_of_its_own_in_each_version() -> None:
    """Tests of Milvus's clients look at it."""
    assert to_status(InvalidInput("no")).code == 65535
    assert to_status(InvalidInput("no"), "3.0").code == 1100


def test_overload_is_one_that_clients_retry() -> None:
    """Code 8 makes pymilvus wait and try again."""
    status = to_status(Overloaded("full", retry_after_s=1.0))
    assert (status.code, status.error_code) == (8, common_pb2.ErrorCode.RateLimit)
    assert status.retriable


def test_missing_collection_is_code_100() -> None:
    """Clients look at the code and at the words."""
    status = to_status(CollectionNotFound(database="default", collection="x"))
    assert status.code == 100
    assert status.reason == "collection not found[database=default][collection=x]"


def test_schema_mismatch_makes_clients_refresh() -> None:
    """pymilvus describes the collection again on this legacy code."""
    assert to_status(SchemaMismatch("x")).error_code == common_pb2.ErrorCode.SchemaMismatch


@pytest.mark.parametrize(
    ("method", "reply_type"),
    [
        ("Insert", milvus_pb2.MutationResult),
        ("Search", milvus_pb2.SearchResults),
        ("DescribeCollection", milvus_pb2.DescribeCollectionResponse),
    ],
)
def test_reply_carries_the_failure(method: str, reply_type: type) -> None:
    """A reply is of the RPC's own type, with a status that says what is wrong."""
    reply = reply_type.FromString(to_reply(method, InvalidInput("no")))
    assert (reply.status.code, reply.status.reason) == (65535, "no")


def test_reply_may_be_the_status_itself() -> None:
    """Some RPCs answer with nothing but a status."""
    reply = common_pb2.Status.FromString(to_reply("CreateCollection", InvalidInput("no")))
    assert reply.reason == "no"


@pytest.mark.parametrize("method", ["Dummy", "NotAnRpcOfMilvus"])
def test_some_replies_cannot_carry_a_failure(method: str) -> None:
    """Those calls end with a gRPC status instead."""
    assert to_reply(method, InvalidInput("no")) is None
