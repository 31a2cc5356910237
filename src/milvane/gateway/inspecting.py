"""
Looks into an instance for its operator: what collections hold, and what a question finds.

Goes the way that clients' calls go, so it works for every kind of instance, and what it embeds is
counted. Who asks was let in elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from milvane.domain.callers import Caller
from milvane.domain.collections import (
    CollectionFacts,
    CollectionPage,
    CollectionQuery,
    FieldFacts,
    Filling,
    TextHit,
    TextSearch,
)
from milvane.domain.control import Scope
from milvane.domain.errors import NotFound, ServiceError, UpstreamRejected
from milvane.gateway.calls import DEFAULT_DATABASE
from milvane.gateway.dispatch import Dispatcher, StreamingUpstream
from milvane.gateway.rest_v2.columns import DYNAMIC_FIELD
from milvane.gateway.rest_v2.failures import Refusal, from_upstream
from milvane.gateway.rest_v2.paths import PATHS
from milvane.gateway.rest_v2.session import Session
from milvane.gateway.rest_v2.wire import AnyBody, Search
from milvane.gateway.rpcs.services import Services
from milvane.gateway.translate.functions import EmbeddingFunction
from milvane.instances.upstream import UpstreamStatus
from milvane.messages import milvus_pb2, schema_pb2
from milvane.serving.access import AccessSettings, Authenticator
from milvane.serving.callers import current_caller

PATIENCE_S = 30.0

_NOT_FOUND = 100
_LOADED = "LoadStateLoaded"
_DataType = schema_pb2.DataType
_VECTORS = frozenset(number for name, number in _DataType.items() if "Vector" in name)


class _LetInBefore(Authenticator):
    """Takes whoever is known already for who asks."""

    def __init__(self) -> None:
        super().__init__(AccessSettings())

    def check_token(self, token: str, scope: Scope = Scope.EMBED) -> Caller:  # noqa: ARG002
        """Say who asks."""
        return current_caller()


class CollectionInspector:
    """Looks into one instance."""

    def __init__(self, upstream: StreamingUpstream, services: Services, *, instance: str) -> None:
        """
        Prepare to look.

        Args:
            upstream: Where calls go.

            services: What clients' calls work with: what one learns of a schema, both know.

            instance: What the upstream is called.
        """
        self._dispatcher = Dispatcher(upstream, services, _LetInBefore(), instance=instance)

    async def list_collections(self, query: CollectionQuery) -> CollectionPage:
        """
        Describe collections of a database, in the order of their names.

        Args:
            query: Which database, and which of its collections; describing one costs some calls.

        Raises:
            NotFound: If there is no such database.
            UpstreamRejected: If the upstream will not tell.
        """
        session = self._session(query.database)
        with _told_as_ours():
            answer = await PATHS["collections/list"].answer(session, AnyBody())
        part = query.contains.casefold()
        names = sorted(name for name in answer["data"] if part in name.casefold())
        wanted = names[query.offset : query.offset + query.limit]
        # One after another: a console is never worth making clients wait.
        facts = [await self._look(session, name) for name in wanted]
        return CollectionPage(
            databases=await self._databases(session),
            collections=facts,
            total=len(names),
        )

    async def search(self, question: TextSearch) -> Sequence[TextHit]:
        """
        Find what is nearest to a text, best first.

        Raises:
            NotFound: If there is no such collection.
            UpstreamRejected: If the upstream will not search.
            ServiceError: As embedding the text does.
        """
        session = self._session(question.database)
        with _told_as_ours():
            known = await session.know(question.collection)
            wanted = [
                field.name for field in known.schema.fields if field.data_type not in _VECTORS
            ]
            primary = next(each.name for each in known.schema.fields if each.is_primary_key)
            body = Search.model_validate(
                {
                    "collectionName": question.collection,
                    "data": [question.text],
                    "annsField": question.field,
                    "filter": question.filter,
                    "limit": question.limit,
                    "outputFields": [name for name in wanted if name != DYNAMIC_FIELD],
                }
            )
            answer = await PATHS["entities/search"].answer(session, body)
        return [_to_hit(row, primary) for row in answer["data"]]

    def _session(self, database: str) -> Session:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + PATIENCE_S
        return Session(
            dispatcher=self._dispatcher,
            metadata=(("dbname", database or DEFAULT_DATABASE),),
            database=database or DEFAULT_DATABASE,
            time_left_s=lambda: max(0.0, until_s - loop.time()),
            int64_as_text=True,
        )

    async def _databases(self, session: Session) -> Sequence[str]:
        try:
            reply = await session.call("ListDatabases", milvus_pb2.ListDatabasesRequest())
        except (Refusal, ServiceError, UpstreamStatus):
            return [session.database]  # an upstream that has but one
        return sorted({*reply.db_names, session.database})

    async def _look(self, session: Session, name: str) -> CollectionFacts:
        try:
            with _told_as_ours():
                known = await session.know(name)
        except ServiceError as error:
            return CollectionFacts(name, problem=error.message)
        functions = known.record.functions if known.record else ()
        return CollectionFacts(
            name=name,
            description=known.schema.description,
            rows=await _ask(session, "get_stats", name, _row_count),
            is_loaded=await _ask(session, "get_load_state", name, _is_loaded),
            fields=describe_fields(known.schema, functions),
        )


def describe_fields(
    schema: schema_pb2.CollectionSchema, functions: Sequence[EmbeddingFunction]
) -> list[FieldFacts]:
    """Say of each field what it holds, and which function fills it; of ours also by which model."""
    ours = {function.output_field: function for function in functions}
    fillings: dict[str, Filling] = {}
    for each in schema.functions:
        for output in each.output_field_names:
            embedding = ours.get(output)
            fillings[output] = Filling(
                function=each.name,
                kind=schema_pb2.FunctionType.Name(each.type),
                inputs=list(each.input_field_names),
                provider=embedding.provider if embedding else "",
                model=embedding.model if embedding else "",
            )
    return [
        FieldFacts(
            name=field.name,
            type=_DataType.Name(field.data_type),
            is_primary=field.is_primary_key,
            dimension=_dimension(field),
            filled_by=fillings.get(field.name),
        )
        for field in schema.fields
        if field.name != DYNAMIC_FIELD
    ]


def _dimension(field: schema_pb2.FieldSchema) -> int | None:
    text = next((pair.value for pair in field.type_params if pair.key == "dim"), "")
    return int(text) if text.isdecimal() else None


async def _ask(session: Session, what: str, name: str, read: Callable[[Any], Any]) -> Any:
    """Ask for what an upstream may not tell: nothing then."""
    path = PATHS[f"collections/{what}"]
    try:
        answer = await path.answer(session, path.body.model_validate({"collectionName": name}))
    except (Refusal, ServiceError, UpstreamStatus):
        return None
    return read(answer["data"])


def _row_count(content: Any) -> int | None:
    count = content["rowCount"]
    return count if isinstance(count, int) else None


def _is_loaded(content: Any) -> bool:
    return bool(content["loadState"] == _LOADED)


def _to_hit(row: dict[str, Any], primary: str) -> TextHit:
    score = float(row.pop("distance"))
    values = {primary: row.get(primary, row.get("id"))} | {
        name: value for name, value in row.items() if name not in {"id", primary}
    }
    # Through its JSON form: rows have NumPy's numbers in them.
    return TextHit(score, orjson.loads(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)))


@contextmanager
def _told_as_ours() -> Iterator[None]:
    """Turn what the upstream refuses into failures of the domain."""
    try:
        yield
    except UpstreamStatus as error:
        raise UpstreamRejected(from_upstream(error).message) from error
    except Refusal as error:
        if error.code == _NOT_FOUND:
            raise NotFound(error.message) from error
        raise UpstreamRejected(error.message) from error
