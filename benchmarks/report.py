"""The page of results: sections of tables and plots, kept as JSON between partial runs."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = DOCS / "benchmarks"


@dataclass
class Plot:
    """Grouped bars: one group a label, one bar a series."""

    name: str
    title: str
    unit: str
    labels: list[str]
    series: dict[str, list[float]]


@dataclass
class Section:
    """What one benchmark has to say."""

    title: str
    question: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    measured_at: str = ""
    machine: str = ""


def machine() -> str:
    """Describe where it was measured."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = f"{len(names)} cores of {names[0].partition(':')[2].strip()}" if names else model
    parts = ", ".join(f"{name} {version(name)}" for name in ("milvus-lite", "openvino", "pymilvus"))
    return f"{model}, Python {platform.python_version()}, {parts}"


def save(name: str, section: Section) -> None:
    """Keep a section and draw its plots."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    section.measured_at = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    section.machine = machine()
    (RESULTS / f"{name}.json").write_text(json.dumps(asdict(section), indent=1) + "\n")
    for plot in section.plots:
        _draw(plot)


def _draw(plot: Plot) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    width = 0.8 / len(plot.series)
    for number, (label, values) in enumerate(plot.series.items()):
        places = [i + (number - (len(plot.series) - 1) / 2) * width for i in range(len(values))]
        bars = axes.bar(places, values, width, label=label)
        axes.bar_label(bars, fmt="%.3g", fontsize=7)
    axes.set_xticks(range(len(plot.labels)), plot.labels)
    axes.set_ylabel(plot.unit)
    axes.set_title(plot.title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if len(plot.series) > 1:
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(RESULTS / f"{plot.name}.svg", metadata={"Date": None})
    plt.close(figure)


def write_page(order: list[str]) -> None:
    """Write docs/benchmarks.md from all sections that have been measured."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`.venv/bin/python -m benchmarks [NAME ...]`). Each table is one",
        "run on one machine; compare within a row, not between machines. Ratios are the result,",
        "absolute figures the material.",
    ]
    for name in order:
        path = RESULTS / f"{name}.json"
        if path.exists():
            lines += ["", *_render(name, json.loads(path.read_text()))]
    (DOCS / "benchmarks.md").write_text("\n".join([*lines, ""]))


def _render(name: str, section: dict) -> list[str]:
    return [
        f"## {section['title']}",
        "",
        section["question"],
        "",
        f"`.venv/bin/python -m benchmarks {name}`, {section['measured_at']}, {section['machine']}.",
        "",
        f"| {' | '.join(section['columns'])} |",
        f"|{' --- |' * len(section['columns'])}",
        *[f"| {' | '.join(row)} |" for row in section["rows"]],
        *[f"\n![{plot['title']}](benchmarks/{plot['name']}.svg)" for plot in section["plots"]],
        *[f"\n{note}" for note in section["notes"]],
    ]
