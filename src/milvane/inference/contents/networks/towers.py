"""Networks of two towers: what is common to them, and CLIP and SigLIP as transformers runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Internal
from milvane.inference.contents.encoders.towers import PictureLoad, TextLoad
from milvane.inference.contents.networks.device import Device
from milvane.inference.contents.networks.loading import load
from milvane.inference.contents.networks.shading import Shade


class Pair(Protocol):
    """The two towers of a family, as tensors; nothing of a pair is shared between threads."""

    @property
    def width(self) -> int:
        """Components of a vector."""

    @property
    def padding(self) -> int:
        """The id that fills up a text."""

    @property
    def fixed_tokens(self) -> int | None:
        """The length to which every text is filled up, if the family was trained so."""

    def read(self, ids: Any, real: Any) -> Any:
        """Give the vectors of texts; `real` is 1 where a token is, shape ``(texts, tokens)``."""

    def look(self, pixels: Any) -> Any:
        """Give the vectors of pictures, shape ``(pictures, 3, height, width)``."""


class TowerNetwork:
    """Gives the vector of each text and each picture; a `Network`."""

    concurrency = 1

    def __init__(
        self, device: Device, pair: Pair, *, mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        """
        Run a pair of towers.

        Args:
            device: Where they run.

            pair: They.

            mean: Of each channel, from 0 to 1, that is taken off.

            deviation: Of each channel, that is divided by.
        """
        self._device = device
        self._pair: Pair | None = pair
        self._shade = Shade(device, mean, deviation)
        self._lock = Lock()  # one pass at a time has the device's memory
        self.width = pair.width
        self.name = device.title
        self.precision = device.precision
        self.threads = device.threads
        self.is_accelerated = device.is_accelerated

    def forward(self, loads: list[TextLoad | PictureLoad]) -> NDArray[np.float32]:
        """Run texts through one tower and pictures through the other."""
        pair = self._pair
        if pair is None:
            raise Internal("the network is closed")
        texts = {p: each.ids for p, each in enumerate(loads) if isinstance(each, TextLoad)}
        seen = {p: each.pixels for p, each in enumerate(loads) if isinstance(each, PictureLoad)}
        rows = np.empty((len(loads), self.width), np.float32)
        with self._lock, self._device.computing():
            if texts:
                rows[list(texts)] = self._read(pair, list(texts.values()))
            if seen:
                rows[list(seen)] = self._look(pair, np.stack(list(seen.values())))
        return rows

    def close(self) -> None:
        """Let go of the network and of the device's memory."""
        self._pair = None
        self._device.empty()

    def _read(self, pair: Pair, texts: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        torch, place = self._device.torch, self._device.name
        length = pair.fixed_tokens or max(len(ids) for ids in texts)
        padded = torch.full((len(texts), length), pair.padding, dtype=torch.long)
        real = torch.zeros(len(texts), length, dtype=torch.long)
        for row, ids in enumerate(texts):
            padded[row, : len(ids)] = torch.from_numpy(ids)
            real[row, : len(ids)] = 1
        vectors = pair.read(padded.to(place), real.to(place))
        return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def _look(self, pair: Pair, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        torch, place = self._device.torch, self._device.name
        channels_first = torch.from_numpy(pixels).to(place).permute(0, 3, 1, 2)
        vectors = pair.look(self._shade(channels_first).to(self._device.dtype))
        return np.asarray(vectors.float().cpu().numpy(), np.float32)


class ClipPair:
    """CLIP."""

    fixed_tokens: int | None = None
    padding = 0

    def __init__(self, folder: Path, device: Device) -> None:
        """
        Load the towers.

        Args:
            folder: Holds them.

            device: Where they run.

        Raises:
            Conflict: If the files are damaged, or hold another network.
        """
        import transformers  # heavy: only when a network is opened

        self._network: Any = load(transformers.CLIPModel, folder, device)
        self.width = int(self._network.config.projection_dim)

    def read(self, ids: Any, real: Any) -> Any:
        """Give the vectors of texts."""
        return _vectors(self._network.get_text_features(input_ids=ids, attention_mask=real))

    def look(self, pixels: Any) -> Any:
        """Give the vectors of pictures."""
        return _vectors(self._network.get_image_features(pixel_values=pixels))


class SiglipPair:
    """SigLIP and SigLIP 2: every text is filled up, and what fills it is read like the rest."""

    def __init__(self, folder: Path, device: Device, *, padding: int, fixed_tokens: int) -> None:
        """
        Load the towers.

        Args:
            folder: Holds them.

            device: Where they run.

            padding: The tokenizer's id that fills up a text.

            fixed_tokens: To which length.

        Raises:
            Conflict: If the files are damaged, or hold another network.
        """
        import transformers  # heavy: only when a network is opened

        self.padding = padding
        self.fixed_tokens: int | None = fixed_tokens
        self._network: Any = load(transformers.SiglipModel, folder, device)
        self.width = int(self._network.config.vision_config.hidden_size)

    def read(self, ids: Any, real: Any) -> Any:
        """Give the vectors of texts."""
        del real
        return _vectors(self._network.get_text_features(input_ids=ids))

    def look(self, pixels: Any) -> Any:
        """Give the vectors of pictures."""
        return _vectors(self._network.get_image_features(pixel_values=pixels))


def _vectors(found: Any) -> Any:
    """Take the vectors out of what transformers gives; older versions give them bare."""
    return getattr(found, "pooler_output", found)
