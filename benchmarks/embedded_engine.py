"""The embedded engine, untouched Milvus Lite and engines of others, at the same work in turn."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import engine_work
from benchmarks.engine_work import (
    BATCH,
    CLIENTS,
    DIMENSION,
    LONGEST_WAIT_S,
    TRICKLE_PAUSE_S,
    TRICKLE_ROWS,
    Engine,
    Figures,
    clustered_vectors,
    measure_engine,
)
from benchmarks.environments import environment
from benchmarks.report import Plot, Section
from benchmarks.timing import timed_s
from milvane.testing.servers import MilvaneProcess

ROOT = Path(__file__).parent.parent
BARE = ROOT / "tests" / "conformance" / "scripts" / "bare_lite.py"
OURS, LITE = "Milvane", "Milvus Lite"
BARS = {
    "milvus-lite 2.5.1": (
        "lite2",
        ["milvus-lite==2.5.1", "pymilvus==2.6.17", "numpy", "setuptools<81"],
    ),
    "chromadb": ("chroma", ["chromadb==1.5.9"]),
}
"""What else is measured: its kind for `engine_work`, and the packages of its own environment."""


@contextmanager
def milvane(folder: Path) -> Iterator[Engine]:
    """Run `milvane serve`; clients go through its gateway."""
    with MilvaneProcess(folder / "ours") as server:

        def child() -> int:
            pid = server.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            command = "milvane.instances.lite.process"
            return next(
                int(each)
                for each in children
                if command in Path(f"/proc/{each}/cmdline").read_text()
            )

        def restart() -> float:
            server.terminate()
            return timed_s(server.start)

        yield Engine(server.grpc_uri, child, restart)


@contextmanager
def bare_lite(folder: Path) -> Iterator[Engine]:
    """Run Milvus Lite's own server, as its package has it."""
    command = [sys.executable, str(BARE), str(folder / "bare")]

    def address(line: str) -> str:
        return f"http://127.0.0.1:{line}"

    with engine_work.started(command, "milvus", address) as engine:
        yield engine


def measure_bar(name: str, sizes: list[int], seconds: float) -> Figures | str:
    """
    Measure an engine of others, with its own packages.

    Returns:
        The figures; or why there are none, if it is not to be had here, or fails.
    """
    kind, packages = BARS[name]
    try:
        python = environment(kind, packages)
    except RuntimeError as error:
        return str(error)
    with tempfile.TemporaryDirectory() as folder:
        work = ["measure", kind, folder, ",".join(map(str, sizes)), str(seconds)]
        done = subprocess.run(
            [str(python), "-m", "benchmarks.engine_work", *work],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return f"{name} fails: {(done.stderr.strip() or '?').splitlines()[-1]}"
    return Figures.from_json(done.stdout.strip().splitlines()[-1])


def fill_and_search(
    start: Callable[[Path], AbstractContextManager[Engine]], sizes: list[int], seconds: float
) -> Figures:
    vectors = clustered_vectors(max(sizes))
    with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as engine:
        return measure_engine("milvus", engine, vectors, sizes, seconds)


def measure(*, quick: bool) -> Section:
    """Compare all engines at two sizes."""
    asked = os.environ.get("MILVANE_BENCHMARK_ROWS", "2000" if quick else "20000,100000")
    sizes = [int(each) for each in asked.split(",")]
    seconds = 1 if quick else 3
    found = {
        LITE: fill_and_search(bare_lite, sizes, seconds),
        OURS: fill_and_search(milvane, sizes, seconds),
    }
    measured = {name: measure_bar(name, sizes, seconds) for name in BARS}
    missing = [each for each in measured.values() if isinstance(each, str)]
    found |= {name: each for name, each in measured.items() if isinstance(each, Figures)}
    return _section(sizes, found, missing)


_WORK: list[tuple[str, str, int | None]] = [
    ("insert, rows/s", "insert_per_s", None),
    ("slowest batch, s", "slowest_batch_s", None),
    ("search, p50 ms", "search_ms", 0),
    ("search, p99 ms", "search_ms", 1),
    ("search with filter, p50 ms", "filtered_ms", 0),
    ("search with filter, p99 ms", "filtered_ms", 1),
    ("search while inserting, p50 ms", "busy_ms", 0),
    ("search while inserting, p99 ms", "busy_ms", 1),
    (f"searches/s, {CLIENTS} clients", "per_s", None),
    ("recall of the 10 nearest", "recall", None),
    ("idle after the last insert, s", "idle_after_s", None),
    ("resident memory, GB", "memory_gb", None),
    ("of it not backed by files, GB", "anonymous_gb", None),
    ("restart to searchable, s", "restart_s", None),
]


def _value(figures: Figures, name: str, place: int | None, size: int) -> float | None:
    value = getattr(figures, name).get(size)
    return value if value is None or place is None else value[place]


def _section(sizes: list[int], found: dict[str, Figures], missing: list[str]) -> Section:
    others = [name for name in found if name != OURS]
    table = []
    for size in sizes:
        for what, name, place in _WORK:
            ours = _value(found[OURS], name, place, size)
            if ours is None:
                continue
            theirs = [_value(found[each], name, place, size) for each in others]
            cells = [f"{ours:,.4g}"]
            cells += ["" if v is None else f"{v:,.4g} (x {ours / v:.2g})" for v in theirs]
            table.append([f"{size:,}", what, *cells])
    labels = [f"{size:,} rows" for size in sizes]
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return Section(
        title="The embedded engine",
        question="How do searches and inserts of the embedded engine grow with the rows, beside "
        f"untouched Milvus Lite and others? {DIMENSION} dimensions, AUTOINDEX (Chroma: its "
        f"default), COSINE, clustered unit vectors, {BATCH} rows an insert from one client, top "
        "10 with one output field; searches after the engine has come to rest, or "
        f"{LONGEST_WAIT_S} s after the last insert, through `milvane serve`, and through the "
        "own server of each of the others; while inserting, another process sends "
        f"{TRICKLE_ROWS} rows every {TRICKLE_PAUSE_S} s.",
        columns=["rows", "work", OURS, *others],
        rows=table,
        notes=[
            "In brackets: Milvane's figure divided by that of the column. Clients, gateway and "
            "engine share the machine's cores. Memory is that of the process that holds the rows, "
            "after searches; what files back, the kernel may take away. A restart is a clean stop "
            "and a start, until searches are taken again. The engines of others run from "
            "environments that the benchmark makes with pip, each with its own client. Load of "
            f"the machine at the end of the run: {load}.",
            *(f"Not measured: {each}." for each in missing),
        ],
        plots=[
            Plot(
                "embedded-engine-search",
                "Search, median",
                "ms",
                labels,
                {n: [f.search_ms[size][0] for size in sizes] for n, f in found.items()},
            ),
            Plot(
                "embedded-engine-insert",
                "Insert",
                "rows/s",
                labels,
                {n: [f.insert_per_s[size] for size in sizes] for n, f in found.items()},
            ),
        ],
    )
