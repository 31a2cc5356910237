"""
Measures a run on the style that no training step saw.

    python evaluate.py DATA RUN [RUN ...]

Text to image: the name of a concept, as it is, looks for its drawing among those of all concepts.
Image to image: a drawing of the unseen style looks for the same concept in a style trained on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from concepts import FLAGS
from model import PIXELS, SHAPES, Tower
from numpy.typing import NDArray
from PIL import Image
from sources import HELD_OUT
from torch.nn import functional
from train import Projection

MARGIN = 6
"""Pixels left free around a drawing, of 96."""


def on_white(pictograms: NDArray[np.uint8], side: int) -> torch.Tensor:
    """Put drawings on white, as a browser shows them."""
    rows = []
    for pixels in pictograms:
        square = Image.new("RGBA", (pixels.shape[1] + 2 * MARGIN,) * 2, "white")
        square.alpha_composite(Image.fromarray(pixels, "RGBA"), (MARGIN, MARGIN))
        small = square.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        rows.append(np.asarray(small))
    pictures = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float()
    return pictures / 127.5 - 1


def read_run(run: Path) -> tuple[Tower, Projection]:
    """Read what a run has averaged."""
    state = torch.load(run / "averaged.pt", weights_only=True)
    tower, texts = Tower(SHAPES[state["shape"]]), Projection()
    tower.load_state_dict(state["averaged"])
    texts.load_state_dict(state["texts"])
    return tower.eval(), texts.eval()


@torch.no_grad()
def embed(tower: Tower, pictures: torch.Tensor) -> torch.Tensor:
    """Embed pictures, a few at a time."""
    parts = [tower(part) for part in pictures.split(64)]
    return functional.normalize(torch.cat(parts), dim=-1)


def recall(queries: torch.Tensor, rows: torch.Tensor) -> dict[str, float]:
    """Say how often the row that belongs to a query is the nearest, or among the five nearest."""
    similar = queries @ rows.T
    own = similar.diagonal()[:, None]
    rank = (similar > own).sum(1)
    return {
        "recall@1": float((rank < 1).float().mean()),
        "recall@5": float((rank < 5).float().mean()),
    }


@torch.no_grad()
def measure(data: Path, run: Path, side: int = PIXELS) -> Mapping[str, object]:
    """Measure a run."""
    tower, texts = read_run(run)
    stored, captions = np.load(data / "pictograms.npz"), np.load(data / "captions.npz")
    concepts = json.loads((data / "concepts.json").read_bytes())
    style = stored["styles"][stored["style"]]
    vectors = captions["vectors"].astype(np.float32)
    unseen = np.flatnonzero(style == HELD_OUT)
    ours = stored["concept"][unseen]
    pictures = embed(tower, on_white(stored["pixels"][unseen], side))
    names = texts(torch.from_numpy(vectors[captions["concepts"][ours, 0]]))
    said: dict[str, object] = {"concepts": len(ours), "text to image": recall(names, pictures)}
    said["image to text"] = recall(pictures, names)
    plain = np.array([concepts[at]["group"] != FLAGS for at in ours])
    said["concepts without flags"] = int(plain.sum())
    said["text to image without flags"] = recall(names[plain], pictures[plain])
    for other in ("noto", "fluent-3d"):
        theirs = np.flatnonzero(style == other)
        _, left, right = np.intersect1d(ours, stored["concept"][theirs], return_indices=True)
        seen = embed(tower, on_white(stored["pixels"][theirs[right]], side))
        said[f"image to {other} ({len(left)})"] = recall(pictures[left], seen)
    own = (names * pictures).sum(1)
    said["similarity of a drawing and its name"] = round(float(own.mean()), 3)
    said["of other pairs"] = round(float((names @ pictures.T).mean()), 3)
    said["texts"] = measure_texts(torch.from_numpy(vectors[captions["alone"]]), texts)
    return said


def measure_texts(alone: torch.Tensor, texts: Projection) -> dict[str, float]:
    """Say what the projection does to texts among themselves."""
    before, after = alone @ alone.T, texts(alone) @ texts(alone).T
    apart = ~torch.eye(len(alone), dtype=torch.bool)
    nearest = (before - 2 * torch.eye(len(alone))).argmax(1) == (
        after - 2 * torch.eye(len(alone))
    ).argmax(1)
    joined = torch.stack([before[apart], after[apart]])
    return {
        "correlation of similarities": float(torch.corrcoef(joined)[0, 1]),
        "mean change": float((joined[0] - joined[1]).abs().mean()),
        "same nearest text": float(nearest.float().mean()),
    }


if __name__ == "__main__":
    for folder in sys.argv[2:]:
        told = json.dumps(measure(Path(sys.argv[1]), Path(folder)), indent=1)
        (Path(folder) / "measured.json").write_text(told + "\n", encoding="utf-8")
        print(folder, told)
