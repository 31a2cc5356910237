"""Whether searches of the embedded engine grow with the rows: five times as many, in one run."""

from __future__ import annotations

from benchmarks.embedded_engine import fill_and_search, milvane
from benchmarks.report import Section

SMALL, LARGE = 100_000, 500_000


def measure(*, quick: bool) -> Section:
    """Fill one engine to both sizes, and search at each."""
    sizes = [2_000, 10_000] if quick else [SMALL, LARGE]
    figures = fill_and_search(milvane, sizes, 1 if quick else 5)
    small, large = sizes
    rows = []
    for work, found in (
        ("insert, rows/s", figures.insert_per_s),
        ("slowest batch, s", figures.slowest_batch_s),
        ("idle after the last insert, s", figures.idle_after_s),
        ("search, p50 ms", {size: each[0] for size, each in figures.search_ms.items()}),
        ("search, p99 ms", {size: each[1] for size, each in figures.search_ms.items()}),
        ("search while inserting, p99 ms", {s: each[1] for s, each in figures.busy_ms.items()}),
        ("searches/s, 4 clients", figures.per_s),
        ("recall of the 10 nearest", figures.recall),
        ("resident memory, GB", figures.memory_gb),
        ("of it not backed by files, GB", figures.anonymous_gb),
    ):
        ratio = found[large] / found[small]
        rows.append([work, f"{found[small]:,.4g}", f"{found[large]:,.4g}", f"{ratio:.2f}"])
    return Section(
        title="The embedded engine at five times the rows",
        question="1,024 dimensions, clustered vectors, AUTOINDEX, one server and its engine: what "
        "grows with the rows?",
        columns=["work", f"{small:,} rows", f"{large:,} rows", "ratio"],
        rows=rows,
        notes=[
            f"Restart to searchable at {large:,} rows: {figures.restart_s[large]:.1f} s.",
        ],
    )
