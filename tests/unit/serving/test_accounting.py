"""What every embedding call goes through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from milvane.domain.callers import ANYONE, Caller, Origin
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.errors import (
    EmptyInput,
    Internal,
    Overloaded,
    PermissionDenied,
    ProviderRefused,
    QuotaExceeded,
    ServiceError,
)
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, Spending, VectorField
from milvane.domain.usage import Operation, Outcome, UsageRecord
from milvane.serving.accounting import Accounts
from milvane.serving.callers import calling, current_caller, current_origin
from milvane.serving.embedding import EmbeddingService, EmbedRequest
from milvane.serving.functions import NoProviders, compute_all, prepare_remote
from milvane.serving.ports import FieldVectors
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

MODEL = "text-embedding-v4"


class Books:
    """A governor and a sink, for looking at."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []
        self.reserved: list[int] = []
        self.settled: list[int] = []
        self.refusal: ServiceError | None = None
        self.denial: ServiceError | None = None

    def check_service(self, model: str, instance: str) -> None:
        """Deny, if that is wanted."""
        if self.denial is not None:
            raise self.denial

    def reserve(self, caller: Caller, instance: str, model: str, tokens: int) -> Books:
        """Reserve, unless a refusal is wanted."""
        if self.refusal is not None:
            raise self.refusal
        self.reserved.append(tokens)
        return self

    def settle(self, used_tokens: int) -> None:
        """Settle."""
        self.settled.append(used_tokens)

    def record(self, record: UsageRecord) -> None:
        """Take a record."""
        self.records.append(record)


@pytest.fixture
def books() -> Books:
    """Empty books."""
    return Books()


@pytest.fixture
def service(books: Books) -> EmbeddingService:
    """A service that enters its calls there."""
    return EmbeddingService(
        {ALL_MINILM_L6_V2.name: HashingEngine()},
        ServingSettings(),
        accounts=Accounts(books, books),
    )


async def test_success_is_entered_with_what_it_used(
    service: EmbeddingService, books: Books
) -> None:
    """On whom, through what, how much; a repeated text counts as often as it is sent."""
    root = Caller(name="root", tenant="north")
    with calling(root, Origin(Operation.SEARCH, "default")):
        await service.embed(EmbedRequest(MODEL, ["one two", "three", "one two"]))
    [record] = books.records
    key = record.key
    assert (key.model, key.provider, key.instance) == (MODEL, "local", "default")
    assert (key.operation, key.tenant, key.caller) == (Operation.SEARCH, "north", "root")
    assert (record.outcome, record.inputs, record.tokens) == (Outcome.SUCCESS, 3, 5)
    assert record.duration_s > 0
    assert (books.reserved, books.settled) == ([5], [5])


async def test_refused_input_is_a_call_that_used_nothing(
    service: EmbeddingService, books: Books
) -> None:
    """It is not the service's failure, and no quota was touched."""
    with pytest.raises(EmptyInput):
        await service.embed(EmbedRequest(MODEL, ["good", ""]))
    [record] = books.records
    assert (record.outcome, record.error, record.tokens) == (Outcome.REFUSED, "invalid_input", 0)
    assert books.reserved == []


async def test_service_that_is_not_offered_embeds_nothing(
    service: EmbeddingService, books: Books
) -> None:
    """It is said before the texts are looked at."""
    books.denial = PermissionDenied("not enabled")
    with pytest.raises(PermissionDenied):
        await service.prepare(EmbedRequest(MODEL, [""]))
    assert books.records[0].error == "permission_denied"


async def test_spent_quota_computes_nothing(books: Books) -> None:
    """Nothing was reserved, so nothing is settled."""
    engine = HashingEngine()
    service = EmbeddingService(
        {ALL_MINILM_L6_V2.name: engine}, ServingSettings(), accounts=Accounts(books, books)
    )
    books.refusal = QuotaExceeded("spent", retry_after_s=1)
    with pytest.raises(QuotaExceeded):
        await service.embed(EmbedRequest(MODEL, ["a"]))
    assert engine.embedded_texts == 0
    assert books.settled == []
    assert (books.records[0].outcome, books.records[0].error) == (Outcome.REFUSED, "quota_exceeded")


@pytest.mark.parametrize(
    ("failure", "outcome", "error"),
    [
        (lambda: Overloaded("full", retry_after_s=1), Outcome.FAILED, "overloaded"),
        (lambda: Internal("broken"), Outcome.FAILED, "internal"),
        (lambda: ValueError("a bug"), Outcome.FAILED, "internal"),
        (asyncio.CancelledError, Outcome.REFUSED, "cancelled"),
    ],
)
def test_what_fails_gives_its_reservation_back(
    books: Books, failure: Callable[[], BaseException], outcome: Outcome, error: str
) -> None:
    """It used nothing, and it is said whose doing it was."""
    accounts = Accounts(books, books)
    raised = failure()
    with pytest.raises(type(raised)), accounts.call(MODEL, inputs=1, tokens=7):
        raise raised
    [record] = books.records
    assert (record.outcome, record.error, record.tokens) == (outcome, error, 0)
    assert (books.reserved, books.settled) == ([7], [0])


def test_caller_and_origin_end_with_the_call() -> None:
    """What comes after is nobody's."""
    with calling(Caller(name="a", tenant="t"), Origin(Operation.INSERT, "default")):
        assert current_origin().instance == "default"
    assert current_caller() == ANYONE
    assert current_origin() == Origin(Operation.API)


class Elsewhere(NoProviders):
    """A provider that says what it used: two tokens a text."""

    async def embed(
        self,
        function: ProviderFunction,
        texts: Sequence[str],
        *,
        purpose: Purpose,
        time_left_s: float | None = None,
        is_fresh: bool = False,
        spending: Spending | None = None,
    ) -> FieldVectors:
        """Say it, and fail if that is wanted."""
        assert spending is not None
        spending.tokens += 2 * len(texts)
        if "refuse" in texts:
            raise ProviderRefused("no")
        return np.zeros((len(texts), 1), np.float32)


@pytest.mark.parametrize(("texts", "tokens"), [(["a", "b", "a"], 4), (["a", "refuse"], 0)])
async def test_what_a_provider_says_it_used_is_entered(texts: list[str], tokens: int) -> None:
    """Each distinct text is paid for once, and a call that fails counts nothing."""
    books = Books()
    accounts = Accounts(books, books)
    service = EmbeddingService(
        {ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings(), accounts=accounts
    )
    function = ProviderFunction("tei", {"model_name": "far"}, VectorField("dense", 1))
    asked = prepare_remote(function, texts, Purpose.DOCUMENT)
    with contextlib.suppress(ProviderRefused):
        await compute_all(service, Elsewhere(), [asked])
    [record] = books.records
    assert (record.key.model, record.key.provider, record.tokens) == ("far", "tei", tokens)
    assert (books.reserved, books.settled) == ([0], [tokens])
