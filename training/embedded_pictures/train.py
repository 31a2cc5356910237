"""
Trains the tower against the vectors of captions.

    python train.py DATA RUN --shape medium --steps 7000 [--threads 1] [--resume]

RUN is a folder: `checkpoint.pt` is what a run goes on from, `averaged.pt` what is exported,
`log.txt` what happened. The same seed and number of steps give the same course, up to the rounding
of bf16.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from augment import disturb, on_grounds, reframe
from model import PIXELS, SHAPES, WIDTH, Tower
from numpy.typing import NDArray
from sources import HELD_OUT
from torch import Tensor, nn
from torch.nn import functional
from words import NUMBERS

SEED = 9
CONCEPTS = 44
"""Concepts of a batch, each in two styles."""
SCENES = 24
STRANGERS = 512
"""Captions of other scenes that a scene is told from, beside those of its batch."""

WARM_UP, DECAY = 180, 0.35
"""Steps in which the rate rises, and the part of the course in which it falls."""
RATE, WEIGHT_DECAY = 2.5e-3, 0.05
TEXT_RATE = 0.1
"""Of the others' rate: texts are to stay where they are, and pictures to come to them."""
AVERAGED = 0.998

NAMED, NEARNESS, ACROSS_STYLES, IDENTITY = 0.5, 1.0, 0.3, 0.1
"""
Weights of: concepts told apart without words, caption and picture being near, styles of a concept
being near, texts staying put.
"""
SETTLING, SETTLING_RATE = 600, 0.3
"""Steps at the end, at a low rate, in which pictures are to be as near as their captions are."""
LIKENESS, KINDNESS = 20.0, 0.5
"""Weights of that, and of the same things in other numbers being near."""

LENIENT_STEPS = 1500
"""Steps at the beginning in which texts staying put weighs half."""


class Projection(nn.Module):
    """Maps vectors of texts; the identity at first, and held near it."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(WIDTH))
        self.scale = nn.Parameter(torch.tensor(3.0))
        """Logarithm of what similarities are multiplied with."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Project rows, and scale them to length 1."""
        return functional.normalize(vectors @ self.matrix.T, dim=-1)

    def factor(self) -> Tensor:
        """Say what similarities are multiplied with, before they become shares."""
        return self.scale.exp().clamp(max=60)

    def distance(self) -> Tensor:
        """Say how far the projection is from the identity."""
        return (self.matrix - torch.eye(WIDTH)).square().sum()


def names_of(concepts: int) -> nn.Linear:
    """Make names without words for concepts: they teach the tower to see, and are left behind."""
    return nn.Linear(WIDTH, concepts)


@dataclass(frozen=True, slots=True)
class Data:
    """Everything that is trained on."""

    pictograms: Tensor
    by_concept: list[NDArray[np.int64]]
    """Pictograms of each trained concept."""
    styles: NDArray[np.int32]
    concepts: Tensor
    """Captions of each trained concept, as rows of `vectors`."""
    scenes: Tensor
    scene_captions: Tensor
    vectors: Tensor
    kinds: Tensor
    """Of each scene's captions and foils: equal where they name the same things."""
    alike: list[NDArray[np.int64]]
    """Scenes of each kind."""


def load(data: Path, share: float) -> Data:
    """Read what the other programs wrote; less of it for a share below 1."""
    stored, captions = np.load(data / "pictograms.npz"), np.load(data / "captions.npz")
    random = np.random.default_rng(SEED)
    trained = stored["styles"][stored["style"]] != HELD_OUT
    trained &= random.random(len(trained)) < share
    concept, style = stored["concept"][trained], stored["style"][trained]
    present = np.unique(concept)
    scenes = np.load(data / "scenes.npy", mmap_mode="r")
    kept = int(len(scenes) * share)
    words = json.loads((data / "scenes.json").read_bytes())[:kept]
    names, kinds = np.unique(
        [[kind_of(text) for text in texts] for texts in words], return_inverse=True
    )
    kinds = kinds.reshape(kept, -1)
    order = np.argsort(kinds[:, 0], kind="stable")
    ends = np.searchsorted(kinds[order, 0], np.arange(len(names)), side="right")
    return Data(
        pictograms=torch.from_numpy(stored["pixels"][trained]),
        by_concept=[np.flatnonzero(concept == one) for one in present],
        styles=style,
        concepts=torch.from_numpy(captions["concepts"][present]).long(),
        scenes=torch.from_numpy(np.array(scenes[:kept])),
        scene_captions=torch.from_numpy(captions["scenes"][:kept]).long(),
        vectors=torch.from_numpy(captions["vectors"].astype(np.float32)),
        kinds=torch.from_numpy(kinds),
        alike=np.split(order, ends[:-1]),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees."""

    pictures: Tensor
    """Two of each concept, side by side, then the scenes."""
    concepts: Tensor
    scenes: Tensor


def draw(data: Data, side: int, random: np.random.Generator, *, settles: bool) -> Batch:
    """Draw a batch, and change its pictures at random; scenes in pairs of like captions, or not."""
    concepts = random.permutation(len(data.by_concept))[:CONCEPTS]
    pairs = []
    for concept in concepts:
        drawings = data.by_concept[concept]
        first = random.choice(drawings)
        others = drawings[data.styles[drawings] != data.styles[first]]
        pairs += [first, random.choice(others) if len(others) else first]
    # What stands first in `on_grounds` becomes small: a pair should not differ in that alone.
    order = random.permutation(len(pairs))
    drawn = on_grounds(data.pictograms[np.array(pairs)[order]], side)[np.argsort(order)]
    scenes = random.integers(len(data.scenes), size=SCENES)
    if settles:
        scenes[1::2] = like(data, scenes[::2], random)
    framed = reframe(data.scenes[scenes], side)
    pictures = torch.cat([drawn, framed])
    order = random.permutation(len(pictures))
    disturbed = disturb(pictures[order])[np.argsort(order)]
    return Batch(disturbed, torch.from_numpy(concepts), torch.from_numpy(scenes))


def like(data: Data, scenes: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Find, for each scene, another of the same kind: in another number, or on another ground."""
    return np.array([random.choice(data.alike[int(data.kinds[scene, 0])]) for scene in scenes])


def kind_of(caption: str) -> str:
    """Reduce a caption to the things that it names: without number, article, plural and ground."""
    things = re.sub(r" on (a|an) .*$", "", caption)
    things = re.sub(f"^({'|'.join(NUMBERS[1:])}|a|an) ", "", things)
    return " ".join(word.rstrip("s") for word in things.split())


def losses(
    data: Data,
    batch: Batch,
    vectors: Tensor,
    texts: Projection,
    names: nn.Linear,
    random: np.random.Generator,
    *,
    settles: bool,
) -> dict[str, Tensor]:
    """Compare the vectors of a batch with those of captions, and with each other."""
    rows = functional.normalize(vectors, dim=-1)
    drawn, scenes = rows[: 2 * CONCEPTS], rows[2 * CONCEPTS :]
    labels = batch.concepts.repeat_interleave(2)
    named = functional.cross_entropy(names(vectors[: 2 * CONCEPTS]), labels, label_smoothing=0.05)
    found, own = concept_losses(data, batch, drawn, texts, random)
    of_scenes, own_scene = scene_losses(data, batch, scenes, texts, random, settles=settles)
    if settles:
        found["likeness"] = unlikeness(data, batch, rows, texts) * LIKENESS
        found["kind"] = across_twins(scenes) * KINDNESS
    return {
        **found,
        **of_scenes,
        "named": named * NAMED,
        "near": (2 - own - own_scene) * NEARNESS,
        "across": across_twins(drawn) * ACROSS_STYLES,
        "identity": texts.distance() * IDENTITY,
    }


def concept_losses(
    data: Data, batch: Batch, drawn: Tensor, texts: Projection, random: np.random.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """Tell pictograms by a caption of each concept that there is; and how near their own is."""
    labels = batch.concepts.repeat_interleave(2)
    variants = torch.from_numpy(random.integers(data.concepts.shape[1], size=len(data.concepts)))
    bank = texts(data.vectors[data.concepts[torch.arange(len(data.concepts)), variants]])
    similar = drawn @ bank.T
    scale = texts.factor()
    of_concept = functional.cross_entropy(similar * scale, labels, label_smoothing=0.05)
    back = (bank[batch.concepts] @ drawn.T) * scale
    chosen = torch.arange(CONCEPTS).repeat_interleave(2)[None] == torch.arange(CONCEPTS)[:, None]
    of_text = -(functional.log_softmax(back, 1) * chosen).sum(1).mean() / 2
    own = similar.gather(1, labels[:, None]).mean()
    return {"concept": of_concept, "text": of_text * 0.5}, own


def unlikeness(data: Data, batch: Batch, rows: Tensor, texts: Projection) -> Tensor:
    """Say how far similarities of pictures are from those of their captions."""
    said = torch.cat(
        [
            data.concepts[batch.concepts, 0].repeat_interleave(2),
            data.scene_captions[batch.scenes, 1],
        ]
    )
    captions = texts(data.vectors[said]).detach()
    return (rows @ rows.T - captions @ captions.T).square().mean()


def across_twins(rows: Tensor) -> Tensor:
    """Tell the twin of each picture, which stands beside it, from all others."""
    among = (rows @ rows.T) * 10
    among = among.masked_fill(torch.eye(len(rows), dtype=torch.bool), -1e4)
    return functional.cross_entropy(among, torch.arange(len(rows)) ^ 1)


def scene_losses(
    data: Data,
    batch: Batch,
    scenes: Tensor,
    texts: Projection,
    random: np.random.Generator,
    *,
    settles: bool,
) -> tuple[dict[str, Tensor], Tensor]:
    """Tell scenes by their captions from others' and from foils; and how near their own is."""
    each = torch.arange(SCENES)
    captions = data.scene_captions[batch.scenes]
    is_plain = torch.from_numpy((random.random((SCENES, 1)) < 0.3).astype(np.int64))
    said = captions.gather(1, is_plain)[:, 0]
    strange = torch.from_numpy(random.integers(len(data.scene_captions), size=STRANGERS))
    others = torch.cat([said, data.scene_captions[strange, 0]])
    told = scenes @ texts(data.vectors[others]).T
    same = others[None] == said[:, None]
    if settles:  # numbers are not to be told apart any more, only kinds
        kinds = data.kinds[batch.scenes, 0]
        same |= torch.cat([kinds, data.kinds[strange, 0]])[None] == kinds[:, None]
    same[each, each] = False
    foils = texts(data.vectors[captions[:, 2:].reshape(-1)]).view(SCENES, 2, WIDTH)
    against = torch.einsum("sw,sfw->sf", scenes, foils)
    if settles:
        numbers = data.kinds[batch.scenes, 2:] == data.kinds[batch.scenes, :1]
        against = against.masked_fill(numbers, -1e4)
    scale = texts.factor()
    logits = torch.cat([told.masked_fill(same, -1e4), against], 1) * scale
    back = (told[:, :SCENES].T.masked_fill(same[:, :SCENES].T, -1e4)) * scale
    found = {
        "scene": functional.cross_entropy(logits, each),
        "caption": functional.cross_entropy(back, each) * 0.5,
    }
    return found, told.diagonal().mean()


def rate_at(step: int, steps: int) -> float:
    """Say the rate of a step: up, level, down to nothing; and once more, while it settles."""
    if step > steps:
        return SETTLING_RATE * (1 - (step - steps) / (SETTLING + 1))
    return min(1.0, step / WARM_UP, (1 - step / steps) / DECAY)


class Course:
    """A run in progress."""

    def __init__(self, shape: str, run: Path, concepts: int) -> None:
        self.run, self.shape = run, shape
        self.names = names_of(concepts)
        self.tower = Tower(SHAPES[shape]).to(memory_format=torch.channels_last)
        self.texts = Projection()
        self.averaged = copy.deepcopy(self.tower)
        decayed = [self.names.weight, self.names.bias]
        decayed += [p for p in self.tower.parameters() if p.dim() > 1]
        others = [p for p in self.tower.parameters() if p.dim() == 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": WEIGHT_DECAY, "part": 1.0},
                {"params": others, "weight_decay": 0.0, "part": 1.0},
                {"params": [self.texts.scale], "weight_decay": 0.0, "part": 1.0},
                {"params": [self.texts.matrix], "weight_decay": 0.0, "part": TEXT_RATE},
            ],
            lr=RATE,
            fused=True,
        )
        self.step = 0

    def save(self) -> None:
        """Write what can be gone on from, and what can be exported."""
        state = {
            "tower": self.tower.state_dict(),
            "texts": self.texts.state_dict(),
            "names": self.names.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        torch.save(state, self.run / "new.pt")
        (self.run / "new.pt").replace(self.run / "checkpoint.pt")
        exported = {key: state[key] for key in ("averaged", "texts", "step")}
        torch.save({**exported, "shape": self.shape}, self.run / "averaged.pt")

    def resume(self) -> None:
        """Go on from the last checkpoint."""
        state = torch.load(self.run / "checkpoint.pt", weights_only=True)
        self.tower.load_state_dict(state["tower"])
        self.texts.load_state_dict(state["texts"])
        self.names.load_state_dict(state["names"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def average(self) -> None:
        """Move the average a little towards where the tower is."""
        kept = min(AVERAGED, self.step / (self.step + 50))
        with torch.no_grad():
            ours, theirs = self.averaged.state_dict(), self.tower.state_dict()
            for name, values in ours.items():
                if values.is_floating_point():
                    values.lerp_(theirs[name], 1 - kept)
                else:
                    values.copy_(theirs[name])

    def take(self, data: Data, steps: int) -> dict[str, float]:
        """Take one step of a course of so many."""
        random = np.random.default_rng((SEED, self.step))
        torch.manual_seed(SEED * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * group["part"] * rate_at(self.step + 1, steps)
        settles = self.step >= steps
        batch = draw(data, PIXELS, random, settles=settles)
        pictures = batch.pictures.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            vectors = self.tower(pictures)
        found = losses(
            data, batch, vectors.float(), self.texts, self.names, random, settles=settles
        )
        if self.step < LENIENT_STEPS:
            found["identity"] = found["identity"] / 2
        self.optimizer.zero_grad()
        sum(found.values()).backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(self.tower.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self.average()
        return {name: float(value.detach()) for name, value in found.items()}


def main() -> None:
    """Run a course."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="medium")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--until", type=int, help="stop there, as if to go on later")
    parser.add_argument("--share", type=float, default=1.0, help="of the data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    arguments.run.mkdir(parents=True, exist_ok=True)
    data = load(arguments.data, arguments.share)
    course = Course(arguments.shape, arguments.run, len(data.by_concept))
    if arguments.resume:
        course.resume()
    started = time.monotonic()
    means: dict[str, float] = {}
    with (arguments.run / "log.txt").open("a", encoding="utf-8") as log:
        while course.step < (arguments.until or arguments.steps + SETTLING):
            for name, value in course.take(data, arguments.steps).items():
                means[name] = means.get(name, value) * 0.98 + value * 0.02
            if course.step % 50 == 0:
                told = " ".join(f"{name} {value:.3f}" for name, value in means.items())
                print(course.step, f"{time.monotonic() - started:.0f}s", told, file=log, flush=True)
            if course.step % 250 == 0:
                course.save()
    course.save()


if __name__ == "__main__":
    main()
