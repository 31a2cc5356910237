"""Chat networks that see: Qwen3-VL and Qwen2-VL, as transformers runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Internal
from milvane.inference.contents.encoders.chat import ChatLoad
from milvane.inference.contents.encoders.patches import Patches, PatchShape
from milvane.inference.contents.networks.device import Device
from milvane.inference.contents.networks.loading import load
from milvane.inference.contents.networks.shading import Shade

_WORDS, _IMAGE, _VIDEO = 0, 1, 2
"""What transformers calls the kinds of tokens, from which it computes their positions."""


class ChatNetwork:
    """Gives the last state of each conversation; a `Network`."""

    concurrency = 1

    def __init__(
        self,
        folder: Path,
        device: Device,
        shape: PatchShape,
        *,
        mean: Sequence[float],
        deviation: Sequence[float],
    ) -> None:
        """
        Load the network.

        Args:
            folder: Holds it.

            device: Where it runs.

            shape: Of patches.

            mean: Of each channel, from 0 to 1, that is taken off.

            deviation: Of each channel, that is divided by.

        Raises:
            Conflict: If the files are damaged, or hold another network.
        """
        import transformers  # heavy: only when a network is opened

        self._device = device
        self._shape = shape
        self._network: Any = load(
            transformers.AutoModel, folder, device, attention=device.attention
        )
        config = self._network.config
        self._image_id = int(config.image_token_id)
        self._video_id = int(config.video_token_id)
        self._shade = Shade(device, mean, deviation)
        self._lock = Lock()  # one pass at a time has the device's memory
        self.name = device.title
        self.precision = device.precision
        self.threads = device.threads
        self.is_accelerated = device.is_accelerated
        self.width = int(getattr(config, "text_config", config).hidden_size)

    def forward(self, loads: list[ChatLoad]) -> NDArray[np.float32]:
        """Run the network over conversations of any lengths."""
        if self._network is None:
            raise Internal("the network is closed")
        with self._lock, self._device.computing():
            return self._run(loads)

    def close(self) -> None:
        """Let go of the network and of the device's memory."""
        self._network = None
        self._device.empty()

    def _run(self, loads: list[ChatLoad]) -> NDArray[np.float32]:
        torch, place = self._device.torch, self._device.name
        lengths = torch.tensor([len(load.ids) for load in loads])
        ids = torch.zeros(len(loads), int(lengths.max()), dtype=torch.long)
        for row, each in enumerate(loads):
            ids[row, : len(each.ids)] = torch.from_numpy(each.ids)
        real = (torch.arange(ids.shape[1])[None, :] < lengths[:, None]).long()
        kinds = torch.full_like(ids, _WORDS)
        kinds[ids == self._image_id] = _IMAGE
        kinds[ids == self._video_id] = _VIDEO
        states = self._network(
            input_ids=ids.to(place),
            attention_mask=real.to(place),
            mm_token_type_ids=kinds.to(place),
            use_cache=False,
            **self._pixels([patches for each in loads for patches in each.images], "image"),
            **self._pixels([patches for each in loads for patches in each.clips], "video"),
        ).last_hidden_state
        last = states[torch.arange(len(loads), device=place), (lengths - 1).to(place)]
        return np.asarray(last.float().cpu().numpy(), np.float32)

    def _pixels(self, pictures: Sequence[Patches], kind: str) -> dict[str, Any]:
        if not pictures:
            return {}
        torch, place = self._device.torch, self._device.name
        grids = torch.tensor([[p.grid.times, p.grid.high, p.grid.wide] for p in pictures])
        pixels = torch.cat([torch.from_numpy(each.pixels) for each in pictures]).to(place)
        shaded = self._shade(pixels).expand(-1, -1, self._shape.frames, -1, -1)
        name = "pixel_values" if kind == "image" else "pixel_values_videos"
        return {name: shaded.flatten(1), f"{kind}_grid_thw": grids.to(place)}
