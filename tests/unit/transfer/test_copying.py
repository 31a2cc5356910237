from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pymilvus.grpc_gen import schema_pb2

from milvane.domain.errors import Conflict, InvalidInput, NotFound
from milvane.instances.lite.journal import CollectionKey
from milvane.transfer.collections import Collection
from milvane.transfer.columns import Page, page_of
from milvane.transfer.copying import (
    Interrupted,
    Outcome,
    StateFile,
    choose,
    copy_collections,
)
from milvane.transfer.folders import FolderPlace, make_folder
from milvane.transfer.progress import Progress

KEY = CollectionKey("default", "articles")
OTHER = CollectionKey("media", "pictures")


def collection(key: CollectionKey = KEY) -> Collection:
    """Describe a collection of two partitions."""
    schema = schema_pb2.CollectionSchema(name=key.name)
    schema.fields.add(name="id", data_type=schema_pb2.DataType.Int64, is_primary_key=True)
    vector = schema.fields.add(name="vector", data_type=schema_pb2.DataType.FloatVector)
    vector.type_params.add(key="dim", value="4")
    return Collection(
        key=key,
        schema=schema,
        has_hidden_functions=False,
        properties=(),
        consistency_level=0,
        shards=1,
        partition_buckets=0,
        partitions=("_default", "other"),
        indexes=(),
        aliases=(),
        is_loaded=True,
    )


def page(first: int, rows: int) -> Page:
    """Make rows with consecutive keys."""
    ids = schema_pb2.FieldData(type=schema_pb2.DataType.Int64, field_name="id")
    ids.scalars.long_data.data.extend(range(first, first + rows))
    vectors = schema_pb2.FieldData(type=schema_pb2.DataType.FloatVector, field_name="vector")
    vectors.vectors.dim = 4
    values = np.random.default_rng(first).normal(size=4 * rows).astype(np.float32)
    vectors.vectors.float_vector.data.extend(values.tolist())
    made = page_of([ids, vectors], "id")
    assert made is not None
    return made


class Narrow(FolderPlace):
    """A folder that takes one row at a time, and may fail after having written it."""

    page_bytes = 1
    failures: Iterator[bool] = iter(())

    def write(self, collection: Collection, partition: str, page: Page, *, number: int) -> None:
        """Write, and then perhaps be gone before anybody hears of it."""
        super().write(collection, partition, page, number=number)
        if next(self.failures, False):
            raise ConnectionError


class Silent:
    """Hears how far a transfer is, and says nothing."""

    def begin(self, key: CollectionKey, *, rows: int, done: int) -> None:
        """Hear of a collection."""

    def advance(self, key: CollectionKey, rows: int) -> None:
        """Hear of rows."""

    def verify(self, key: CollectionKey) -> None:
        """Hear of a comparison."""


@pytest.fixture
def source(tmp_path: Path) -> FolderPlace:
    """A folder with two collections of five rows in three files."""
    make_folder(tmp_path / "source")
    place = FolderPlace(tmp_path / "source")
    for key in (KEY, OTHER):
        place.prepare(collection(key))
        place.write(collection(key), "_default", page(1, 2), number=0)
        place.write(collection(key), "_default", page(3, 1), number=1)
        place.write(collection(key), "other", page(10, 2), number=0)
    return place


def copy(
    source: FolderPlace,
    target: FolderPlace,
    state: StateFile,
    is_stopped: Callable[[], bool] = lambda: False,
    *,
    is_resumed: bool = True,
) -> list[Outcome]:
    """Copy everything."""
    progress = state.begin(source.name, target.name, is_resumed=is_resumed)
    return copy_collections(
        source,
        target,
        source.keys(),
        progress=progress,
        save=state.save,
        watcher=Silent(),
        is_stopped=is_stopped,
    )


@pytest.mark.parametrize("page_number", range(10))
@pytest.mark.parametrize("failure", [Interrupted, ConnectionError])
def test_transfer_that_stops_anywhere_is_resumed(
    source: FolderPlace, tmp_path: Path, page_number: int, failure: type[Exception]
) -> None:
    """Whichever page was the last, and whether it was heard of or not, all rows arrive once."""
    make_folder(tmp_path / "target")
    target, state = Narrow(tmp_path / "target"), StateFile(tmp_path / "state.json")
    at_the_page = iter([False] * page_number + [True])
    is_stopped = (lambda: next(at_the_page)) if failure is Interrupted else (lambda: False)
    target.failures = iter(()) if failure is Interrupted else at_the_page
    with pytest.raises(failure):
        copy(source, target, state, is_stopped)
    outcomes = copy(source, target, state)
    assert [outcome.key for outcome in outcomes] == [KEY, OTHER]
    assert all(outcome.is_whole for outcome in outcomes)
    assert {outcome.copied.rows for outcome in outcomes} == {5}


def test_difference_at_the_target_is_noticed(source: FolderPlace, tmp_path: Path) -> None:
    """A row that is lost or changed behind the transfer's back makes it fail."""
    make_folder(tmp_path / "target")
    target, state = FolderPlace(tmp_path / "target"), StateFile(tmp_path / "state.json")
    assert all(outcome.is_whole for outcome in copy(source, target, state))
    target.write(collection(), "other", page(11, 2), number=0)
    changed, kept = copy(source, target, state)
    assert not changed.is_whole
    assert changed.found is not None
    assert changed.found.rows == 5
    assert kept.is_whole


def test_collection_that_is_there_already_is_not_touched(
    source: FolderPlace, tmp_path: Path
) -> None:
    """Only an earlier attempt of the same transfer may have made it."""
    make_folder(tmp_path / "target")
    target = FolderPlace(tmp_path / "target")
    target.prepare(collection(OTHER))
    with pytest.raises(Conflict, match=r"has a collection media\.pictures already"):
        copy(source, target, StateFile(tmp_path / "state.json"))


def test_state_is_of_one_transfer(tmp_path: Path) -> None:
    """A forgotten state neither starts anew nor goes on elsewhere by mistake."""
    state = StateFile(tmp_path / "state.json")
    state.save(Progress("here", "there"))
    assert state.begin("here", "there", is_resumed=True) == Progress("here", "there")
    with pytest.raises(Conflict, match="--resume"):
        state.begin("here", "there", is_resumed=False)
    with pytest.raises(Conflict, match="not from here to elsewhere"):
        state.begin("here", "elsewhere", is_resumed=True)
    (tmp_path / "state.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(InvalidInput, match="another version"):
        state.begin("here", "there", is_resumed=True)
    state.remove()
    assert state.begin("here", "there", is_resumed=True) == Progress("here", "there")


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ((), [KEY, OTHER]),
        (("articles",), [KEY]),
        (("media.pictures", "articles", "articles"), [OTHER, KEY]),
        (("media.*",), [OTHER]),
    ],
)
def test_collections_are_chosen_by_name(wanted: list[str], chosen: list[CollectionKey]) -> None:
    """A name without a database means the default one."""
    assert choose([KEY, OTHER], wanted) == chosen


def test_unknown_name_is_refused_with_those_that_are_known() -> None:
    """A slip of the pen does not copy nothing in silence."""
    with pytest.raises(NotFound, match=r"no collection pictures; .*articles, media\.pictures"):
        choose([KEY, OTHER], ["pictures"])


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """An export goes to an empty folder, or to one of its own."""
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(Conflict, match="holds something else"):
        make_folder(tmp_path)
    with pytest.raises(NotFound, match="no exported folder"):
        FolderPlace(tmp_path).keys()
