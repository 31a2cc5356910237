from __future__ import annotations

from milvane.instances.access import TABLE, Access, access_of, is_repeatable, rpc_name
from milvane.instances.lite.rpcs import unary_rpcs


def test_table_names_exactly_what_the_embedded_engine_answers() -> None:
    """An RPC that Milvus Lite gains or loses is seen here before anybody calls it."""
    assert set(TABLE) == {rpc.name for rpc in unary_rpcs().values() if rpc.is_implemented}


def test_unknown_rpc_is_alone_with_everything() -> None:
    """What is not known to be harmless is kept apart from everything else."""
    assert access_of("RebuildTheWorld") is Access.RESHAPE
    assert not is_repeatable("RebuildTheWorld")


def test_only_calls_that_change_nothing_are_repeatable() -> None:
    """A write is never sent a second time on behalf of a caller."""
    changing = {Access.WRITE, Access.FLUSH, Access.REBUILD, Access.RESHAPE}
    assert {TABLE[rpc] for rpc in TABLE if not is_repeatable(rpc)} == changing


def test_rpc_name_is_the_last_part_of_the_path() -> None:
    """A method's path ends with the RPC's name."""
    assert rpc_name("/milvus.proto.milvus.MilvusService/Search") == "Search"
