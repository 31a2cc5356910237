"""
Draws scenes with captions: pictograms and shaded things, counted, coloured, arranged on grounds.

    python scenes.py DATA [COUNT]    # writes scenes.npz, scenes.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from concepts import ANIMALS, FOOD, THINGS
from numpy.typing import NDArray
from objects import FRUIT, SIDE, paint_ground, paint_table, soften
from objects import THINGS as DRAWN
from PIL import Image
from sources import HELD_OUT
from words import COLOURS, NUMBERS, article, name_colour, plural, vary

PIXELS = 96
SEED = 9

Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that can be put into a scene, and the words for it."""

    noun: str
    colour: str | None
    """None where its drawings have no one colour."""
    picture: Image.Image

    @property
    def words(self) -> str:
        """Colour and noun."""
        return f"{self.colour} {self.noun}" if self.colour else self.noun


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawn scene, what it shows, and what it could be mistaken for."""

    pixels: NDArray[np.uint8]
    caption: str
    plain: str
    """The caption in fewer words."""
    foils: tuple[str, str]


class Stock:
    """The pictograms that scenes are made of, of the styles that are trained on."""

    def __init__(self, data: Path) -> None:
        stored = np.load(data / "pictograms.npz")
        concepts = json.loads((data / "concepts.json").read_bytes())
        groups = np.array([concept["group"] for concept in concepts])
        self._nouns = [concept["name"] for concept in concepts]
        usable = np.isin(groups[stored["concept"]], THINGS)
        usable &= stored["styles"][stored["style"]] != HELD_OUT
        self._pixels = stored["pixels"][usable]
        self._concept = stored["concept"][usable]
        often = np.isin(groups[self._concept], (ANIMALS, FOOD))
        self._weights = np.where(often, 2.0, 1.0) / np.where(often, 2.0, 1.0).sum()
        self._colours = [name_colour(pixels) for pixels in self._pixels]

    def draw(self, random: Random) -> Thing:
        """Take a pictogram, as it is or tinted; animals and food twice as often as the rest."""
        at = int(random.choice(len(self._pixels), p=self._weights))
        noun, picture = self._nouns[self._concept[at]], Image.fromarray(self._pixels[at], "RGBA")
        if random.random() < 0.65:
            return Thing(noun, self._colours[at], picture)
        colour = _any_colour(random)
        return Thing(noun, colour, tint(picture, vary(COLOURS[colour], random)))

    def noun(self, random: Random) -> str:
        """Take the name of some pictogram."""
        return self._nouns[self._concept[random.integers(len(self._concept))]]


def tint(picture: Image.Image, colour: NDArray[np.float32]) -> Image.Image:
    """Give a drawing one colour, keeping what is light and what is dark in it."""
    pixels = np.asarray(picture, np.float32)
    light = pixels[..., :3] @ np.array((0.3, 0.59, 0.11), np.float32) / 255
    shown = pixels[..., 3] > 128
    middle = float(np.median(light[shown])) if shown.any() else 0.5
    level = np.clip(light / max(0.15, middle), 0, 2)[..., None]
    tinted = np.where(
        level < 1, colour * (0.25 + 0.75 * level), colour + (255 - colour) * (level - 1) * 0.6
    )
    return Image.fromarray(
        np.dstack([np.clip(tinted, 0, 255), pixels[..., 3]]).astype(np.uint8), "RGBA"
    )


def draw_thing(random: Random, noun: str | None = None) -> Thing:
    """Draw a shaded thing, in a colour of its own or, now and then, in any."""
    if noun is None:
        noun = str(random.choice(list(DRAWN)))
    draw, colours = DRAWN[noun]
    colour = str(random.choice(colours)) if random.random() < 0.85 else _any_colour(random)
    return Thing(noun, colour, draw(vary(COLOURS[colour], random), random))


def _any_colour(random: Random) -> str:
    return str(random.choice(list(COLOURS)))


def _other_colour(colour: str | None, random: Random) -> str:
    return str(random.choice([name for name in COLOURS if name != colour]))


@dataclass(frozen=True, slots=True)
class _Ground:
    pixels: NDArray[np.float32]
    words: str


def _paint(random: Random, *, avoided: str | None) -> _Ground:
    kind = random.random()
    if kind < 0.25:
        return _Ground(paint_table(PIXELS, random), " on a table")
    colour = _other_colour(avoided, random)
    plain = np.array(COLOURS[colour], np.float32)
    if kind < 0.7:  # pale, as behind things on photographs
        plain = plain * 0.3 + random.uniform(120, 178)
        words = ""
    else:
        words = f" on {article(colour)} background"
    ground = paint_ground(PIXELS, plain.astype(np.float32), random)
    return _Ground(soften(ground, random.uniform(0, 2)), words)


def _place(
    ground: NDArray[np.float32], things: list[Image.Image], random: Random
) -> NDArray[np.uint8]:
    """Put things side by side, in rows if they are many, with shadows now and then."""
    scene = Image.fromarray(ground.astype(np.uint8)).convert("RGBA")
    columns = len(things) if len(things) <= 2 else int(np.ceil(np.sqrt(len(things))))
    if len(things) == 2 and random.random() < 0.3:
        columns = 1
    rows = -(-len(things) // columns)
    cell_x, cell_y = PIXELS / columns, PIXELS / rows
    has_shadow = random.random() < 0.4
    for at, picture in enumerate(things):
        side = int(
            min(cell_x, cell_y) * random.uniform(0.72, 1.12) * (0.9 if len(things) == 1 else 1)
        )
        turned = picture.rotate(random.normal(0, 14), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        small = turned.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2)
        x = int((at % columns + 0.5) * cell_x - side / 2 + random.normal(0, 3))
        y = int((at // columns + 0.5) * cell_y - side / 2 + random.normal(0, 3))
        if has_shadow:
            dark = Image.new("RGBA", small.size, (0, 0, 0, 255))
            dark.putalpha(small.getchannel("A").point(lambda level: level * 0.35))
            scene.paste(dark, (x + 2, y + 3), dark)
        scene.paste(small, (x, y), small)
    return np.asarray(scene.convert("RGB"))


def one_kind(stock: Stock, random: Random) -> Scene:
    """Draw one to six of the same thing."""
    thing = draw_thing(random) if random.random() < 0.45 else stock.draw(random)
    count = int(random.choice((1, 2, 3, 4, 5, 6), p=(0.35, 0.2, 0.17, 0.12, 0.08, 0.08)))
    ground = _paint(random, avoided=thing.colour)
    pixels = _place(ground.pixels, [thing.picture] * count, random)

    def say(words: str, number: int) -> str:
        if number == 1:
            return article(words)
        counted = random.random() < 0.7
        return f"{NUMBERS[number]} {plural(words)}" if counted else plural(words)

    other = f"{_other_colour(thing.colour, random)} {thing.noun}"
    if count > 1 and random.random() < 0.4:
        wrong = int(random.choice([number for number in range(1, 7) if number != count]))
        foils = (f"{NUMBERS[wrong]} {plural(thing.words) if wrong > 1 else thing.words}",)
    else:
        foils = (say(other, count),)
    replaced = f"{thing.colour or ''} {stock.noun(random)}".strip()
    return Scene(
        pixels,
        say(thing.words, count) + ground.words,
        say(thing.words, count),
        (*foils, say(replaced, count)),
    )


def two_kinds(stock: Stock, random: Random) -> Scene:
    """Draw two things beside each other."""
    things = [draw_thing(random) if random.random() < 0.4 else stock.draw(random) for _ in "ab"]
    ground = _paint(random, avoided=things[0].colour)
    pixels = _place(ground.pixels, [thing.picture for thing in things], random)
    joined = str(random.choice((" and ", " next to ", " beside ", " with ")))
    first, second = (article(thing.words) for thing in things)
    plain = f"{article(things[0].noun)} and {article(things[1].noun)}"
    foils = (
        f"{first}{joined}{article(stock.noun(random))}",
        f"{article(stock.noun(random))}{joined}{second}",
    )
    return Scene(pixels, first + joined + second + ground.words, plain, foils)


def fruit_bowl(stock: Stock, random: Random) -> Scene:
    """Draw several fruits, heaped."""
    nouns = [str(noun) for noun in random.choice(FRUIT, int(random.integers(1, 4)), replace=False)]
    things = [draw_thing(random, noun) for noun in nouns]
    ground = _paint(random, avoided=None)
    heap = [things[int(random.integers(len(things)))].picture for _ in range(4 - len(things))]
    pixels = _place(ground.pixels, [*(thing.picture for thing in things), *heap], random)
    listed = " and ".join(plural(thing.words) for thing in things)
    absent = [noun for noun in FRUIT if noun not in nouns]
    foils = (
        plural(str(random.choice(absent))),
        f"{_any_colour(random)} {plural(stock.noun(random))}",
    )
    plain = "fruit" if len(things) > 1 else plural(things[0].noun)
    return Scene(pixels, listed + ground.words, plain, foils)


def pattern(stock: Stock, random: Random) -> Scene:
    """Draw stripes, checks or dots of two colours."""
    colour = _any_colour(random)
    other = _other_colour(colour, random)
    paint, back = (vary(COLOURS[name], random) for name in (colour, other))
    period = int(random.integers(8, 30))
    y, x = np.mgrid[:PIXELS, :PIXELS]
    kind = str(random.choice(("stripes", "checks", "dots")))
    shown = {
        "stripes": ((x * np.cos(period) + y * np.sin(period)) % period) < period / 2,
        "checks": (x // (period // 2) + y // (period // 2)) % 2 == 0,
        "dots": ((x % period - period / 2) ** 2 + (y % period - period / 2) ** 2)
        < (period * 0.3) ** 2,
    }[kind]
    pixels = np.where(shown[..., None], paint, back) + random.normal(0, 4, (PIXELS, PIXELS, 1))
    caption = f"{colour} and {other} {kind}"
    foils = (
        f"{_other_colour(colour, random)} and {_other_colour(other, random)} {kind}",
        f"{colour} and {other} {plural(stock.noun(random))}",
    )
    return Scene(np.clip(pixels, 0, 255).astype(np.uint8), caption, kind, foils)


KINDS = ((one_kind, 0.5), (two_kinds, 0.28), (fruit_bowl, 0.17), (pattern, 0.05))


def main() -> None:
    """Draw many scenes."""
    data, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 40_000
    stock, random = Stock(data), np.random.default_rng(SEED)
    pixels = np.empty((count, PIXELS, PIXELS, 3), np.uint8)
    words = []
    draws, shares = zip(*KINDS, strict=True)
    for at, kind in enumerate(random.choice(len(KINDS), count, p=shares)):
        scene = draws[kind](stock, random)
        pixels[at] = scene.pixels
        words.append([scene.caption, scene.plain, *scene.foils])
    np.save(data / "scenes.npy", pixels)
    (data / "scenes.json").write_text(json.dumps(words), encoding="utf-8")
    print(len(words), "scenes")


assert SIDE >= PIXELS  # noqa: S101 - things are reduced, never enlarged

if __name__ == "__main__":
    main()
