"""Run benchmarks, write docs/benchmarks.md: ``python -m benchmarks [--quick] [NAME ...]``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

from benchmarks import report

ORDER = ["raw_text", "embedded_engine", "inference", "http_peers", "http_dialects"]
"""The page's order; modules that are not named follow by name."""


SUPPORT = frozenset(
    {
        "__main__",
        "corpus",
        "engine_work",
        "environments",
        "http_load",
        "peer_server",
        "report",
        "timing",
    }
)
"""Modules that measure nothing."""


ON_REQUEST = frozenset({"soak", "contents"})
"""Modules that take an hour, or an environment of their own."""


def names() -> list[str]:
    """Name every benchmark there is."""
    modules = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    found = [name for name in modules if name not in SUPPORT]
    return sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else 99, name))


def main() -> None:
    """Measure what is asked for, or everything."""
    quick = "--quick" in sys.argv
    asked = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    for name in asked or [each for each in names() if each not in ON_REQUEST]:
        print(f"measuring {name} ...", flush=True)
        section = importlib.import_module(f"benchmarks.{name}").measure(quick=quick)
        for row in [section.columns, *section.rows]:
            print("  " + "  ".join(f"{cell:<22}" for cell in row), flush=True)
        if not quick:
            report.save(name, section)
    if not quick:
        report.write_page(names())


if __name__ == "__main__":
    main()
