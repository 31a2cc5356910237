"""
Random histories of a collection with an embedding function, against a model of a few lines.

A real client, gateway and Lite process; vectors are hashed, so that each tells its text. What the
model says must be what is read, after every step, restarts and sudden deaths of the Lite process
included. `MILVANE_TEST_HISTORIES=200 scripts/test tests/durability/test_histories.py` looks longer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException

from milvane.bootstrap.server import next_revision
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.models import Lane, Purpose
from milvane.gateway.bindings import Bindings
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.rpcs.services import Services
from milvane.gateway.server import GatewayServer, MilvusHandler
from milvane.gateway.settings import GatewaySettings
from milvane.instances.lite.supervisor import LiteInstance, LiteState
from milvane.instances.settings import LiteSettings
from milvane.instances.upstream import Upstream
from milvane.serving.access import AccessSettings, Authenticator
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

ASKED = os.environ.get("MILVANE_TEST_HISTORIES")
HISTORIES = int(ASKED or "8")
PHASES = (Phase.generate, Phase.shrink) if ASKED else (Phase.generate,)
"""Who asks for more has the time to see a failure made short, too."""
STEPS = 60
FEW = 4
"""Rows that are not worth starting again for."""
DIMENSION = 64
MODEL = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4", "dim": str(DIMENSION)}
LITE = LiteSettings(
    flush_max_rows=20, flush_idle_s=0.2, wait_for_restart_s=20, restart_backoff_max_s=0.2
)
TEXTS = st.sampled_from(["red apple", "green pear", "blue ship", "old oak", "七个汉字", "?!"])
INPUTS = st.sampled_from(["document", "title"])


class Home:
    """Where the server lives: a thread with an event loop, from which it is ended at will."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="home")
        self._thread.start()
        self._stop = asyncio.Event()
        self._life: Any = None
        self.lite = LiteInstance(LITE, folder / "data")
        self.port = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine where the server lives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def start(self) -> None:
        """Start gateway and Lite process; from the second time on at the same port."""
        self._stop = asyncio.Event()
        self.lite = LiteInstance(LITE, self._folder / "data")
        ready: asyncio.Future[None] = self._loop.create_future()
        self._life = asyncio.run_coroutine_threadsafe(self._live(ready), self._loop)
        self.run(self._until(ready))

    async def _until(self, ready: asyncio.Future[None]) -> None:
        life = asyncio.wrap_future(self._life)
        await asyncio.wait([ready, life], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await life

    async def _live(self, ready: asyncio.Future[None]) -> None:
        services = Services(
            embedding=EmbeddingService({ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings()),
            bindings=Bindings(max_cached=10),
            next_revision=next_revision,
        )
        async with self.lite, Upstream(self.lite, wait_for_restart_s=20) as upstream:
            dispatcher = Dispatcher(upstream, services, Authenticator(AccessSettings()))
            handler = MilvusHandler(dispatcher)
            section = GatewaySettings(drain_timeout_s=2)
            async with GatewayServer(handler, section, host="127.0.0.1", port=self.port) as server:
                self.port = server.port
                ready.set_result(None)
                await self._stop.wait()

    def stop(self) -> None:
        """End both in order."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._life.result(60)

    def kill_lite(self) -> None:
        """End the Lite process as a crash would, and wait until it runs again."""

        async def wait_for_another(pid: int) -> None:
            while self.lite.state is not LiteState.READY or self.lite.pid == pid:
                await self.lite.wait_change(self.lite.status)

        pid = self.lite.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.run(asyncio.wait_for(wait_for_another(pid), 30))

    def close(self) -> None:
        """End everything."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


@contextmanager
def a_home() -> Iterator[Home]:
    """Run a server on an empty directory."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder))
        home.start()
        try:
            yield home
        finally:
            home.close()


def vector_of(text: str) -> tuple[float, ...]:
    """Say which vector a text has."""

    async def embed() -> Any:
        engine = HashingEngine()
        ids = await engine.tokenize([text], purpose=Purpose.DOCUMENT)
        return await engine.embed(ids, dimension=DIMENSION, lane=Lane.BULK)

    return _VECTORS.setdefault(text, tuple(asyncio.run(embed())[0].tolist()))


_VECTORS: dict[str, tuple[float, ...]] = {}


def own_vector(number: int) -> list[float]:
    """Make a vector that no text has."""
    vector = [0.0] * DIMENSION
    vector[number % DIMENSION] = 1.0
    return vector


@dataclass(frozen=True)
class Row:
    """What a row must hold."""

    document: str
    title: str
    vector: tuple[float, ...]


class Histories(RuleBasedStateMachine):
    """A collection, and what must be in it."""

    home: ClassVar[Home]
    numbers: ClassVar[Iterator[int]]

    def __init__(self) -> None:
        super().__init__()
        self.client = MilvusClient(uri=f"http://127.0.0.1:{self.home.port}")
        self.rows: dict[int, Row] = {}
        self.input: str | None = "document"
        self.name = ""
        self.next_id = 0
        self.upheavals = 0

    @initialize()
    def create(self) -> None:
        """Begin with an empty collection."""
        self.name = f"history_{next(self.numbers)}"
        schema = self.client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("document", DataType.VARCHAR, max_length=100)
        schema.add_field("title", DataType.VARCHAR, max_length=100)
        schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSION)
        schema.add_function(self._function("document"))
        index = self.client.prepare_index_params()
        index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
        # Step by step: what does it in one call waits half a second to see that it is done.
        self.client.create_collection(self.name, schema=schema)
        self.client.create_index(self.name, index, sync=False)
        self.client.load_collection(self.name, _async=True)
        self.rows, self.input = {}, "document"

    def _function(self, field: str) -> Function:
        return Function("embed", FunctionType.TEXTEMBEDDING, [field], ["dense"], params=MODEL)

    def _row(self, key: int, document: str, title: str) -> dict[str, Any]:
        """Make a row for the client, and remember it."""
        row = {"id": key, "document": document, "title": title}
        if self.input is None:
            row["dense"] = own_vector(key)
            vector = tuple(own_vector(key))
        else:
            vector = vector_of(row[self.input])
        self.rows[key] = Row(document, title, vector)
        return row

    @rule(texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8))
    def insert(self, texts: list[tuple[str, str]]) -> None:
        """Add rows."""
        rows = []
        for document, title in texts:
            rows.append(self._row(self.next_id, document, title))
            self.next_id += 1
        assert self.client.insert(self.name, rows)["insert_count"] == len(rows)

    @rule(document=TEXTS, title=TEXTS)
    def insert_nothing(self, document: str, title: str) -> None:
        """A request with one bad row stores none."""
        if self.input is None:
            return
        good = {"id": self.next_id, "document": document, "title": title}
        bad = {"id": self.next_id + 1, "document": document, "title": title} | {self.input: ""}
        with pytest.raises(MilvusException, match="does not support empty text"):
            self.client.insert(self.name, [good, bad])

    @rule(data=st.data(), document=TEXTS, title=TEXTS)
    def upsert(self, data: st.DataObject, document: str, title: str) -> None:
        """Replace a row, or add one."""
        key = data.draw(st.sampled_from([*self.rows, self.next_id]))
        self.next_id = max(self.next_id, key + 1)
        self.client.upsert(self.name, [self._row(key, document, title)])

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), field=INPUTS, text=TEXTS)
    def change_one_field(self, data: st.DataObject, field: str, text: str) -> None:
        """Only what is sent changes, and the vector only with its text."""
        keys = data.draw(st.sets(st.sampled_from(list(self.rows)), min_size=1, max_size=3))
        self.client.upsert(
            self.name, [{"id": key, field: text} for key in keys], partial_update=True
        )
        for key in keys:
            self.rows[key] = replace(self.rows[key], **{field: text})
            if field == self.input:
                self.rows[key] = replace(self.rows[key], vector=vector_of(text))

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Remove rows by their keys."""
        keys = data.draw(st.sets(st.sampled_from(list(self.rows)), min_size=1, max_size=4))
        self.client.delete(self.name, ids=list(keys))
        for key in keys:
            del self.rows[key]

    @rule(text=TEXTS)
    def delete_by_text(self, text: str) -> None:
        """Remove rows by what they hold."""
        self.client.delete(self.name, filter=f'document == "{text}"')
        self.rows = {key: row for key, row in self.rows.items() if row.document != text}

    @rule(text=TEXTS)
    def search(self, text: str) -> None:
        """The rows with a text's vector are those at no distance, or texts are refused."""
        search = {"anns_field": "dense", "limit": 1000, "search_params": {"metric_type": "COSINE"}}
        if self.input is None:
            with pytest.raises(MilvusException, match="requires a TEXT_EMBEDDING function"):
                self.client.search(self.name, [text], **search)
            return
        (hits,) = self.client.search(self.name, [text], **search)
        assert {hit["id"] for hit in hits} == self.rows.keys()
        nearest = {hit["id"] for hit in hits if hit["distance"] > 0.999}
        assert nearest == {k for k, row in self.rows.items() if row.vector == vector_of(text)}

    @rule(field=INPUTS)
    def alter_function(self, field: str) -> None:
        """Bind another text; vectors that are there stay."""
        if self.input is None:
            with pytest.raises(MilvusException, match="function embed not found"):
                self.client.alter_collection_function(self.name, "embed", self._function(field))
            return
        self.client.alter_collection_function(self.name, "embed", self._function(field))
        self.input = field

    @precondition(lambda self: len(self.rows) > FEW)
    @rule()
    def drop_function(self) -> None:
        """Clients bring vectors from now on; dropping nothing is no failure."""
        self.client.drop_collection_function(self.name, "embed")
        self.input = None

    @precondition(lambda self: self.input is None)
    @rule(field=INPUTS)
    def add_function(self, field: str) -> None:
        """Texts are embedded again, those of new rows."""
        self.client.add_collection_function(self.name, self._function(field))
        self.input = field

    @rule()
    def flush(self) -> None:
        """Move rows to disk."""
        self.client.flush(self.name)

    @rule()
    def rename(self) -> None:
        """The collection is the same by another name."""
        other = f"history_{next(self.numbers)}"
        self.client.rename_collection(self.name, other)
        self.name = other

    @precondition(lambda self: len(self.rows) > FEW)
    @rule()
    def truncate(self) -> None:
        """The rows go, the function stays."""
        self.client.truncate_collection(self.name)
        self.rows = {}

    @precondition(lambda self: len(self.rows) > FEW)
    @rule()
    def drop_and_create(self) -> None:
        """Another collection begins, with what the client remembers of the first."""
        self.client.drop_collection(self.name)
        self.create()

    @precondition(lambda self: self.upheavals < 1 and len(self.rows) > FEW)
    @rule()
    def restart(self) -> None:
        """End and start everything in order."""
        self.upheavals += 1
        self.home.stop()
        self.home.start()

    @precondition(lambda self: self.upheavals < 1 and len(self.rows) > FEW)
    @rule()
    def crash(self) -> None:
        """Lose the Lite process."""
        self.upheavals += 1
        self.home.kill_lite()

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        """Each row is there once, with its texts and its vector."""
        if not self.name:
            return
        fields = ["id", "document", "title", "dense"]
        found = self.client.query(self.name, filter="id >= 0", output_fields=fields)
        assert len(found) == len(self.rows)
        for row in found:
            expected = self.rows[row["id"]]
            assert (row["document"], row["title"]) == (expected.document, expected.title)
            np.testing.assert_allclose(row["dense"], expected.vector, atol=1e-6)
        (count,) = self.client.query(self.name, output_fields=["count(*)"])
        assert count["count(*)"] == len(self.rows)

    @invariant()
    def function_is_described(self) -> None:
        """A client reads what was bound last."""
        if not self.name:
            return
        functions = self.client.describe_collection(self.name)["functions"]
        assert [each["input_field_names"] for each in functions] == (
            [] if self.input is None else [[self.input]]
        )

    def teardown(self) -> None:
        """Leave nothing to the next history."""
        if self.name:
            self.client.drop_collection(self.name)
        self.client.close()


@pytest.mark.slow
@pytest.mark.timeout(60 + 60 * HISTORIES)
@pytest.mark.filterwarnings("ignore:.*is unsupported by Milvus 3.0")
def test_every_history_is_that_of_the_model() -> None:
    """Whatever was done, what is read is what the model says."""
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    with a_home() as home:
        Histories.home, Histories.numbers = home, iter(range(1_000_000))
        run_state_machine_as_test(
            Histories,
            settings=settings(
                max_examples=HISTORIES,
                stateful_step_count=STEPS,
                deadline=None,
                phases=PHASES,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
