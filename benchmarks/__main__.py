"""Run benchmarks, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import ast
import importlib
import pkgutil
from pathlib import Path

HERE = Path(__file__).parent

ORDER = ["raw_text", "embedded_engine", "inference", "http_peers", "http_dialects"]
"""The page's order; modules that are not named follow by name."""


SUPPORT = frozenset(
    {
        "__main__",
        "corpus",
        "decoder_peer",
        "engine_work",
        "environments",
        "gateway_inserts",
        "http_load",
        "peer_server",
        "products",
        "report",
        "timing",
    }
)
"""Modules that measure nothing."""


ON_REQUEST = frozenset({"soak", "contents"})
"""Modules that take an hour, or an environment of their own."""


def names() -> list[str]:
    """Name every benchmark there is."""
    found = [module.name for module in pkgutil.iter_modules([str(HERE)])]
    return sorted(
        (name for name in found if name not in SUPPORT),
        key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name),
    )


def main() -> None:
    """Measure what is asked for, or everything."""
    options = _parser().parse_args()
    # Imported late: the page's plots need what the help does not.
    from benchmarks import report

    for name in options.names or [each for each in names() if each not in ON_REQUEST]:
        print(f"measuring {name} ...", flush=True)
        section = importlib.import_module(f"benchmarks.{name}").measure(quick=options.quick)
        for row in [section.columns, *section.rows]:
            print("  " + "  ".join(f"{cell:<22}" for cell in row), flush=True)
        if not options.quick:
            report.save(name, section)
    if not options.quick:
        report.write_page(names())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(["what they measure:", *map(_describe, names())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        choices=names(),
        default=None,
        help="what to measure; everything that is not only run by its name, if none",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="measure less, to see that it runs; nothing is written",
    )
    return parser


def _describe(name: str) -> str:
    """Say what a benchmark measures in its own words, without importing what it needs."""
    said = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    return f"  {name:<18}{said.partition(chr(10))[0]}{' (only by name)' * (name in ON_REQUEST)}"


if __name__ == "__main__":
    main()
