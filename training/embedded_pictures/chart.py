"""
Draws what was measured, from `figures.json` beside this file.

    .venv/bin/python training/embedded_pictures/chart.py docs/explanation/embedded-pictures.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

FIGURES = Path(__file__).parent / "figures.json"


def main() -> None:
    """Draw recall over the course, and over sizes and data on a short one."""
    figures = json.loads(FIGURES.read_bytes())
    figure, (course, short) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for name in ("recall@1", "recall@5"):
        steps = [row["step"] for row in figures["course"]]
        course.plot(steps, [row[name] for row in figures["course"]], marker="o", label=name)
    course.set_xlabel("steps")
    course.set_title("Text to image, unseen style", fontsize=10)
    names = [row["name"] for row in figures["short"]]
    for number, name in enumerate(("recall@1", "recall@5")):
        places = [at + (number - 0.5) * 0.4 for at in range(len(names))]
        bars = short.bar(places, [row[name] for row in figures["short"]], 0.4, label=name)
        short.bar_label(bars, fmt="%.2f", fontsize=7)
    short.set_xticks(range(len(names)), names, fontsize=7)
    short.set_title(f"After {figures['short steps']:,} steps each", fontsize=10)
    for axes in (course, short):
        axes.set_ylim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
    course.legend(frameon=False, fontsize=8)
    figure.savefig(sys.argv[1], metadata={"Date": None})


if __name__ == "__main__":
    main()
