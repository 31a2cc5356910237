"""What the guarded Lite process promises to whoever calls it, tried on the real process."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import grpc
import pytest
from milvus_lite.db import MilvusLite
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from lite_rows import DIMENSION, SMALL, LiteClient, Refused, running_lite, until, vector_of
from milvane.instances.access import SERVICE
from milvane.instances.settings import LiteSettings
from milvane.instances.upstream import Upstream, UpstreamStatus


async def insert_many(client: LiteClient, name: str, writer: int, batches: int) -> list[int]:
    """Insert batches of 20 rows whose ids no other writer uses; returns the acknowledged ids."""
    acknowledged: list[int] = []
    for batch in range(batches):
        first = writer * 100_000 + batch * 20
        acknowledged += await client.insert(name, range(first, first + 20))
    return acknowledged


async def test_parallel_writers_lose_and_double_nothing(tmp_path: Path) -> None:
    """Eight writers on one collection, with flushes between, leave each row exactly once."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")
        results = await asyncio.gather(
            *(insert_many(client, "rows", writer, 8) for writer in range(8)),
            *(client.flush("rows") for _ in range(5)),
        )
        acknowledged = sorted(row for result in results if result for row in result)
        assert len(acknowledged) == 8 * 8 * 20
        assert await client.ids("rows") == acknowledged
        assert await client.count("rows") == len(acknowledged)
        for row in random.Random(1).sample(acknowledged, 10):
            found = await client.search("rows", row)
            assert found[0] == row
            assert len(set(found)) == len(found)


async def test_acknowledged_rows_never_go_out_of_sight(tmp_path: Path) -> None:
    """While rows move to disk, no reader counts or finds fewer than were acknowledged."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows", index=None)
        acknowledged = 0
        done = asyncio.Event()

        async def read() -> int:
            reads = 0
            while not done.is_set():
                least = acknowledged
                assert await client.count("rows") >= least
                if least:
                    assert (await client.search("rows", least - 1, 1)) == [least - 1]
                    assert await client.ids("rows", f"id in [{least - 1}]") == [least - 1]
                reads += 1
            return reads

        async def write() -> None:
            nonlocal acknowledged
            for batch in range(30):
                await client.insert("rows", range(batch * 25, batch * 25 + 25))
                acknowledged = batch * 25 + 25
                if batch % 3 == 0:
                    await client.flush("rows")
            done.set()

        _, *reads = await asyncio.gather(write(), read(), read())
        assert min(reads) > 5


async def test_deleted_rows_stay_deleted_across_flushes(tmp_path: Path) -> None:
    """A tombstone hides its row whether either is in memory or on disk."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")
        await client.insert("rows", range(100))
        await client.delete("rows", "id in [1, 2, 3]")
        await client.flush("rows")
        await client.delete("rows", "id in [4, 5]")
        assert await client.count("rows") == 95
        await client.flush("rows")
        await client.insert("rows", [1])
        expected = [1, *range(6, 100)]
        assert await client.ids("rows") == [0, *expected]
        await client.flush("rows")
        assert await client.ids("rows") == [0, *expected]


async def test_first_calls_after_a_start_may_come_all_at_once(tmp_path: Path) -> None:
    """Collections are open before the process is ready, so nobody opens one a second time."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")
        await client.insert("rows", range(500))
    async with running_lite(tmp_path) as (_, client):
        await asyncio.gather(*(insert_many(client, "rows", writer, 2) for writer in range(1, 9)))
    async with running_lite(tmp_path) as (_, client):
        assert await client.count("rows") == 500 + 8 * 2 * 20


async def test_collections_come_back_loaded_or_released_as_they_were(tmp_path: Path) -> None:
    """A restart changes nothing that a client sees, in any database."""
    async with running_lite(tmp_path) as (_, client):
        for name in ("loaded", "released", "renamed"):
            await client.create(name)
            await client.insert(name, range(10))
        await client.release("released")
        await client.change(
            "RenameCollection",
            milvus_pb2.RenameCollectionRequest(oldName="renamed", newName="renamed_since"),
        )
        assert (await client.search("renamed_since", 3, 1)) == [3]
    async with running_lite(tmp_path) as (_, client):
        assert (await client.search("loaded", 3, 1)) == [3]
        assert (await client.search("renamed_since", 3, 1)) == [3]
        with pytest.raises(Refused, match="call load"):
            await client.search("released", 3, 1)
        await client.load("released")
    async with running_lite(tmp_path) as (_, client):
        assert (await client.search("released", 3, 1)) == [3]


async def test_other_databases_and_aliases_share_the_same_locks(tmp_path: Path) -> None:
    """Writers that use different names of one collection are still one at a time."""
    async with running_lite(tmp_path) as (lite, client):
        await client.change("CreateDatabase", milvus_pb2.CreateDatabaseRequest(db_name="media"))
        async with Upstream(lite, wait_for_restart_s=5) as upstream:
            media = LiteClient(upstream, database="media")
            await media.create("rows")
            await media.change(
                "CreateAlias", milvus_pb2.CreateAliasRequest(collection_name="rows", alias="also")
            )
            await asyncio.gather(
                *(insert_many(media, "rows", writer, 4) for writer in range(4)),
                *(insert_many(media, "also", writer, 4) for writer in range(4, 8)),
                media.flush("also"),
            )
            assert await media.count("rows") == 8 * 4 * 20
    async with (
        running_lite(tmp_path) as (lite, _),
        Upstream(lite, wait_for_restart_s=5) as upstream,
    ):
        assert await LiteClient(upstream, database="media").count("also") == 8 * 4 * 20


async def test_too_many_waiting_calls_are_told_to_back_off(tmp_path: Path) -> None:
    """A full queue answers with the status at which Milvus clients wait and try again."""
    settings = LiteSettings(max_waiting_calls=1)
    async with running_lite(tmp_path, settings) as (_, client):
        await client.create("rows")
        results = await asyncio.gather(
            *(client.insert("rows", range(i * 1000, i * 1000 + 500)) for i in range(100)),
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, Refused)]
        assert refused
        assert {each.code for each in refused} == {8}
        acknowledged = sum(len(each) for each in results if not isinstance(each, BaseException))
        assert await client.count("rows") == acknowledged


async def test_caller_that_goes_away_leaves_the_collection_usable(tmp_path: Path) -> None:
    """A call that nobody waits for any more ends by itself and gives its locks back."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")
        calls = [
            asyncio.create_task(client.insert("rows", range(i * 1000, i * 1000 + 300)))
            for i in range(8)
        ]
        await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await client.insert("rows", [99_999])
        ids = await client.ids("rows")
        assert len(ids) == len(set(ids))
        assert 99_999 in ids
        assert await client.count("rows") == len(ids)


async def test_rows_stay_in_sight_when_the_disk_refuses_them(tmp_path: Path) -> None:
    """A flush that fails loses nothing, and the next one catches up."""
    settings = LiteSettings(flush_idle_s=60)
    async with running_lite(tmp_path, settings) as (_, client):
        await client.create("rows", index=None)
        await client.insert("rows", range(50))
        obstacle = tmp_path / "collections" / "rows" / "partitions" / "_default"
        obstacle.parent.mkdir(parents=True, exist_ok=True)
        obstacle.write_text("a file where a directory must be")
        with pytest.raises(Refused):
            await client.flush("rows")
        assert await client.ids("rows") == list(range(50))
        await client.insert("rows", range(50, 60))
        obstacle.unlink()
        await client.flush("rows")
        assert await client.ids("rows") == list(range(60))
    async with running_lite(tmp_path, settings) as (_, client):
        assert await client.ids("rows") == list(range(60))


async def test_generated_ids_are_never_given_twice(tmp_path: Path) -> None:
    """Rows that were refused do not make later rows replace earlier ones after a restart."""
    async with running_lite(tmp_path) as (lite, client):
        await client.create("rows", auto=True)
        request = milvus_pb2.InsertRequest(collection_name="rows", num_rows=40)
        for _ in range(3):
            with pytest.raises(Refused):
                await client.call("Insert", milvus_pb2.MutationResult, request)
        await client.insert("rows", range(20), with_ids=False)
        assert await client.count("rows") == 20
        assert lite.pid is not None
    async with running_lite(tmp_path) as (_, client):
        await client.insert("rows", range(400), with_ids=False)
        assert await client.count("rows") == 420


async def test_dropped_and_truncated_collections_stay_so(tmp_path: Path) -> None:
    """What was removed does not come back with a restart, and a name can be used again."""
    async with running_lite(tmp_path) as (_, client):
        for name in ("dropped", "emptied"):
            await client.create(name)
            await client.insert(name, range(30))
        await client.change(
            "DropCollection", milvus_pb2.DropCollectionRequest(collection_name="dropped")
        )
        await client.call(
            "TruncateCollection",
            milvus_pb2.TruncateCollectionResponse,
            milvus_pb2.TruncateCollectionRequest(collection_name="emptied"),
        )
        await client.insert("emptied", [7])
        await client.create("dropped")
    async with running_lite(tmp_path) as (_, client):
        assert await client.ids("dropped") == []
        assert await client.ids("emptied") == [7]
        assert (await client.search("emptied", 7)) == [7]


async def test_calls_that_milvus_lite_lacks_say_so(tmp_path: Path) -> None:
    """An RPC that is not implemented has the status that Milvus clients expect."""
    async with (
        running_lite(tmp_path) as (lite, _),
        Upstream(lite, wait_for_restart_s=1) as upstream,
    ):
        for method in (f"/{SERVICE}/GetReplicas", f"/{SERVICE}/NoSuchCall", "/other/Call"):
            with pytest.raises(UpstreamStatus) as caught:
                await upstream.call(method, b"")
            assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED


async def test_timestamps_rise(tmp_path: Path) -> None:
    """Each is later than the one before, however many are wanted at once, and tells the time."""
    async with running_lite(tmp_path) as (_, client):
        before = time.time_ns() // 1_000_000
        request = milvus_pb2.AllocTimestampRequest()
        first = await client.call("AllocTimestamp", milvus_pb2.AllocTimestampResponse, request)
        more = await asyncio.gather(
            *(
                client.call("AllocTimestamp", milvus_pb2.AllocTimestampResponse, request)
                for _ in range(20)
            )
        )
    stamps = {each.timestamp for each in more}
    assert len(stamps) == 20
    assert min(stamps) > first.timestamp
    assert before <= first.timestamp >> 18 <= before + 60_000


async def test_empty_metric_is_the_metric_of_the_index(tmp_path: Path) -> None:
    """A search that names its metric with no letters finds what one without finds."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")
        await client.insert("rows", range(20))
        plain = await client.search("rows", 7)
        assert await client.search("rows", 7, metric_type="") == plain
        assert plain[0] == 7


async def test_index_that_is_there_may_be_asked_for_again(tmp_path: Path) -> None:
    """The same index again is no error, and another one on the same field is."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows", index="HNSW")
        await client.create_index("rows", "HNSW")
        with pytest.raises(Refused, match="already exists"):
            await client.create_index("rows", "FLAT")


async def test_index_is_dropped_by_its_name_alone(tmp_path: Path) -> None:
    """Other indexes stay; a name that is none of theirs drops nothing."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")
        await client.create_index("rows", "INVERTED", field="id")
        await client.release("rows")
        with pytest.raises(Refused, match="there are id, vector"):
            await client.change(
                "DropIndex",
                milvus_pb2.DropIndexRequest(collection_name="rows", index_name="other"),
            )
        await client.change(
            "DropIndex", milvus_pb2.DropIndexRequest(collection_name="rows", index_name="id")
        )
        left = await client.call(
            "DescribeIndex",
            milvus_pb2.DescribeIndexResponse,
            milvus_pb2.DescribeIndexRequest(collection_name="rows"),
        )
    assert [index.field_name for index in left.index_descriptions] == ["vector"]


async def test_client_that_pings_all_the_time_is_served(tmp_path: Path) -> None:
    """Keepalive pings never end a connection."""
    options = (
        ("grpc.keepalive_time_ms", 20),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    async with running_lite(tmp_path) as (lite, _):
        assert lite.status.target is not None
        async with grpc.aio.insecure_channel(lite.status.target, options=options) as channel:
            health = channel.unary_unary(f"/{SERVICE}/CheckHealth")
            for _ in range(20):
                assert milvus_pb2.CheckHealthResponse.FromString(await health(b"")).isHealthy
                await asyncio.sleep(0.05)


def files_in(folder: Path, pattern: str) -> list[Path]:
    """List files at any depth."""
    return list(folder.rglob(pattern))


async def test_torn_index_file_is_built_again(tmp_path: Path) -> None:
    """An index whose file was cut short does not make its collection unreadable."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows", index="HNSW")
        await client.insert("rows", range(300))
        await client.flush("rows")
        await until(lambda: files_in(tmp_path, "*.idx"))
    for file in files_in(tmp_path, "*.idx"):
        file.write_bytes(file.read_bytes()[:100])
    async with running_lite(tmp_path) as (_, client):
        assert (await client.search("rows", 3, 1)) == [3]
        await until(lambda: files_in(tmp_path, "*.idx"))
        assert (await client.search("rows", 3, 1)) == [3]


async def test_segments_stay_few_while_rows_come_in(tmp_path: Path) -> None:
    """Small segments are merged, beside reads and writes, and no row is lost or doubled."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")
        for first in range(0, 1_200, 30):
            await client.insert("rows", range(first, first + 30))
            await client.delete("rows", f"id in [{first}]")
            await client.flush("rows")
        expected = [row for row in range(1_200) if row % 30]
        assert await client.ids("rows") == expected
        assert len(await client.search("rows", 7, 1_200)) == len(expected)
        await until(lambda: len(files_in(tmp_path, "data_*.parquet")) <= 10)
        assert await client.ids("rows") == expected
    async with running_lite(tmp_path) as (_, client):
        assert await client.ids("rows") == expected


async def test_index_that_nothing_can_build_leaves_its_collection_searchable(
    tmp_path: Path,
) -> None:
    """A directory of Milvus Lite, which takes any name of an index, is served by scanning."""
    bare = MilvusLite(str(tmp_path))
    fields = [
        FieldSchema(name="id", dtype=DataType.INT64, is_primary=True),
        FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=DIMENSION),
    ]
    collection = bare.create_collection("rows", CollectionSchema(fields=fields))
    collection.create_index("vector", {"index_type": "DISKANN", "metric_type": "COSINE"})
    collection.insert([{"id": row, "vector": vector_of(row).tolist()} for row in range(20)])
    bare.close()
    async with running_lite(tmp_path) as (_, client):
        assert (await client.search("rows", 3, 1)) == [3]
        with pytest.raises(Refused, match="invalid index type: SCANN") as refusal:
            await client.create("other", index="SCANN")
        assert refusal.value.code == 1100


async def test_automatic_index_of_sparse_vectors_is_the_one_there_is(tmp_path: Path) -> None:
    """AUTOINDEX on the output of a BM25 function is built and searched."""
    async with running_lite(tmp_path) as (lite, _):
        target = await lite.wait_target(10)
        assert await asyncio.to_thread(_words_found, target) == [["a red apple"]]


def _words_found(target: str) -> list[list[str]]:
    from pymilvus import DataType as Type
    from pymilvus import Function, FunctionType, MilvusClient

    client = MilvusClient(target)
    schema = client.create_schema()
    schema.add_field("id", Type.INT64, is_primary=True, auto_id=True)
    schema.add_field("text", Type.VARCHAR, max_length=99, enable_analyzer=True)
    schema.add_field("sparse", Type.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))
    index = client.prepare_index_params()
    index.add_index(
        "sparse",
        index_type="AUTOINDEX",
        metric_type="BM25",
        params={"inverted_index_algo": "DAAT_MAXSCORE"},
    )
    client.create_collection("words", schema=schema, index_params=index)
    client.insert("words", [{"text": "a red apple"}, {"text": "a green pear"}])
    hits = client.search("words", ["red"], anns_field="sparse", output_fields=["text"])
    client.close()
    return [[hit["entity"]["text"] for hit in each] for each in hits]


@pytest.mark.parametrize("index", ["FLAT", "IVF_FLAT", "HNSW"])
async def test_collections_are_searchable_after_a_restart_whatever_their_index(
    tmp_path: Path, index: str
) -> None:
    """Indexes that are built are found again."""
    settings = SMALL.model_copy(update={"index_min_rows": 1})
    async with running_lite(tmp_path, settings) as (_, client):
        await client.create("rows", index=index)
        await client.insert("rows", range(200))
        await client.flush("rows")
        assert (await client.search("rows", 3, 1)) == [3]
    async with running_lite(tmp_path, settings) as (_, client):
        assert (await client.search("rows", 3, 1)) == [3]


async def test_rows_of_any_shape_survive_a_flush(tmp_path: Path) -> None:
    """Moving to disk changes no value: null, dynamic, nested or in another partition."""
    from pymilvus import DataType, MilvusClient

    def session(target: str) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        client = MilvusClient(target)
        schema = client.create_schema(enable_dynamic_field=True)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=20)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
        schema.add_field("facts", DataType.JSON, nullable=True)
        schema.add_field("score", DataType.DOUBLE, nullable=True)
        tags = {"element_type": DataType.INT64, "max_capacity": 8}
        schema.add_field("tags", DataType.ARRAY, **tags)
        client.create_collection("rows", schema=schema)
        client.create_partition("rows", "other")
        for number in range(20):
            client.insert(
                "rows",
                {
                    "id": f"row {number}",
                    "vector": [number / 7] * DIMENSION,
                    "facts": None if number % 3 else {"deep": {"er": [number]}},
                    "score": None if number % 2 else number / 3,
                    "tags": list(range(number % 5)),
                    "extra": f"dynamic {number}",
                },
                partition_name="other" if number % 4 else "_default",
            )
        fields = ["id", "vector", "facts", "score", "tags", "extra"]
        before = client.query("rows", filter='id != ""', output_fields=fields)
        client.flush("rows")
        after = client.query("rows", filter='id != ""', output_fields=fields)
        client.close()
        return list(before), list(after)

    def ordered(rows: list[dict[str, object]]) -> list[dict[str, object]]:
        return sorted(rows, key=lambda row: str(row["id"]))

    async with running_lite(tmp_path, SMALL.model_copy(update={"flush_idle_s": 60.0})) as (lite, _):
        assert lite.status.target is not None
        before, after = await asyncio.to_thread(session, lite.status.target)
    assert len(before) == 20
    assert ordered(after) == ordered(before)


async def test_status_of_a_missing_collection_is_that_of_milvus_lite(tmp_path: Path) -> None:
    """The guard passes on what Milvus Lite says about names that it does not know."""
    async with running_lite(tmp_path) as (_, client):
        with pytest.raises(Refused, match="does not exist") as caught:
            await client.search("missing", 1)
        assert caught.value.code == 100
        with pytest.raises(Refused, match="does not exist"):
            await client.insert("missing", [1])
        state = await client.call(
            "GetLoadState",
            milvus_pb2.GetLoadStateResponse,
            milvus_pb2.GetLoadStateRequest(collection_name="missing"),
        )
        assert state.state == common_pb2.LoadState.LoadStateNotExist
