"""What the books cost: quotas, the ledger of usage, and bringing it into SQL."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.report import Section
from milvane.cli.models import pull_default_weights
from milvane.control_plane import commands
from milvane.control_plane.plane import ControlPlane
from milvane.control_plane.settings import ControlSettings
from milvane.domain.callers import ANYONE
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.control import Quota, QuotaKind, QuotaSubject
from milvane.domain.models import Lane, Purpose
from milvane.inference.engine import open_engine
from milvane.metering.recorder import UsageRecorder
from milvane.metering.settings import MeteringSettings
from milvane.serving.accounting import Accounts
from milvane.settings import load_settings, weights_dir
from milvane.storage.database import Database
from milvane.storage.files import utc_now
from milvane.storage.settings import StorageSettings

MODEL = "text-embedding-v4"
QUERY = "what is semantic search and how does a vector database work"
DOCUMENT = " ".join(["a vector database converts text into vectors for semantic search"] * 4)


def measure(*, quick: bool) -> Section:
    """Take the processor time of the books, and of the embedding that they are kept of."""
    calls = 2_000 if quick else 20_000
    with TemporaryDirectory() as folder:
        on_the_way, later = asyncio.run(_books(Path(folder), calls))
    query_s, insert_s = asyncio.run(_embedding(20 if quick else 200))
    both = on_the_way + later

    def row(work: str, seconds: float) -> list[str]:
        return [work, f"{seconds * 1e6:,.0f} µs", f"{both / seconds:.2%}"]

    return Section(
        title="What the books cost",
        question="Processor time of quotas and the ledger, against that of the call itself: the "
        "aim is at most 3 %.",
        columns=["work", "processor time of a call", "share of the books"],
        rows=[row("one query", query_s), row("an insert of 100 documents of 40 tokens", insert_s)],
        notes=[
            f"Before the answer {on_the_way * 1e6:.0f} µs: the service is looked up, a tenant's "
            "quota is reserved and settled, the record is a line of a file. Afterwards "
            f"{later * 1e6:.0f} µs, in another thread: the ledger and three sums of it in SQLite.",
            "The call's own time is tokenizer and network alone, without HTTP or Milvus, which "
            "would make the share smaller.",
        ],
    )


async def _books(folder: Path, calls: int) -> tuple[float, float]:
    """Keep the books of calls that do nothing; seconds of each, before and after its answer."""
    metering = MeteringSettings(fold_interval_s=1e6)
    async with (
        Database(StorageSettings(), folder) as database,
        UsageRecorder(database, folder / "usage", metering, clock=utc_now) as recorder,
        ControlPlane(database, ControlSettings(), recorder, clock=utc_now) as plane,
    ):
        await plane.prepare([MODEL], {})
        subject = QuotaSubject(QuotaKind.TENANT, ANYONE.tenant)
        quota = Quota(subject, requests_per_minute=10**9, tokens_per_month=10**15)
        await plane.change("benchmark", lambda change: commands.set_quota(change, quota))
        accounts = Accounts(plane, recorder)
        begun_s = time.process_time()
        for _ in range(calls):
            with accounts.refusals(MODEL):
                accounts.check_service(MODEL)
            with accounts.call(MODEL, inputs=1, tokens=12):
                pass
        answered_s = time.process_time()
        await recorder.fold()
        return (answered_s - begun_s) / calls, (time.process_time() - answered_s) / calls


async def _embedding(rounds: int) -> tuple[float, float]:
    """Embed a query, and documents; processor seconds of each."""
    settings = load_settings().settings
    pull_default_weights(settings)
    async with open_engine(ALL_MINILM_L6_V2, weights_dir(settings), settings.inference) as engine:

        async def embed(texts: list[str], times: int) -> float:
            begun_s = time.process_time()
            for _ in range(times):
                ids = await engine.tokenize(texts, purpose=Purpose.DOCUMENT)
                await engine.embed(ids, dimension=1024, lane=Lane.INTERACTIVE)
            return (time.process_time() - begun_s) / times

        await embed([QUERY], 5)
        return await embed([QUERY], rounds), await embed([DOCUMENT] * 100, max(2, rounds // 20))
