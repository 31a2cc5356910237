"""
Any network that transformers knows, through PyTorch: on CUDA, on Apple, and where no light path is.

The network is transformers' own; what becomes of its states is done here as in every runtime. Code
that lies beside a checkpoint is never run.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Conflict, Internal
from milvane.inference.runtimes.families.bert import read_token_head
from milvane.inference.runtimes.network import Head, Linear
from milvane.inference.settings import Precision

Tensor = Any
"""A PyTorch tensor; the library is not installed where types are checked."""

_NO_LIMIT = 1 << 20
"""Positions of networks that only know distances."""
_OFFSET_POSITIONS = ("roberta", "camembert", "xlm-roberta", "mpnet")
"""Families whose first two positions no token ever has."""
_NOTHING = -1e9


LOADING = Lock()
"""
Held while a network is loaded.

It guards the modules of transformers, which appear while they are first used, and of which a second
thread sees only some; and the memory, of which a load takes more than what it leaves.
"""


def is_torch_installed() -> bool:
    """Say whether the extra is here, without importing it."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def has_accelerator() -> bool:
    """Say whether PyTorch is here and sees a device that is faster than the CPU."""
    if not is_torch_installed() or not _may_have_accelerator():
        return False
    return find_device() != "cpu"


def _may_have_accelerator() -> bool:
    # Importing PyTorch takes seconds, which a machine without a device need not spend.
    devices = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    return sys.platform in ("darwin", "win32") or any(Path(each).exists() for each in devices)


def find_device() -> str:
    """Choose the device that PyTorch computes on: ``cuda``, ``mps`` or ``cpu``."""
    import torch  # heavy: only when a runtime is opened

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchNetwork:
    """A `Runtime` of one pass at a time on one device."""

    concurrency = 1
    packs = False

    def __init__(
        self, folder: Path, head: Head, *, precision: Precision, device: str | None = None
    ) -> None:
        """
        Load the network, seconds to minutes.

        Args:
            folder: Holds ``config.json`` and the tensors.

            head: What becomes of its states.

            precision: ``auto`` takes bf16 where the device computes in it.

            device: Found if not given.

        Raises:
            Conflict: If transformers does not know the family, a file is damaged, or the device
                has not the precision.
        """
        import torch  # heavy: only when a runtime is opened

        self._torch = torch
        self._device = device or find_device()
        self.precision = _choose_precision(torch, self._device, precision)
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        with LOADING:
            network = _load_network(folder, kind)
        _refuse_odd_numbers(torch, network, folder)
        self._network: Any = network.eval().to(self._device)
        self._head = head
        self._lock = Lock()  # one pass at a time has the device's memory
        config = network.config
        self.name = f"PyTorch {torch.__version__} on {self._device}"
        self.threads = torch.get_num_threads()
        self.max_tokens = _max_tokens(config)
        states_width = int(config.hidden_size)
        self.width = head.width_after(states_width)
        token_head = read_token_head(folder, states_width)
        self._token_head = self._load(token_head) if token_head else None
        self.weighs_tokens = token_head is not None
        self._projections = [(self._load(each.linear), each.activation)
                             for each in head.projections]  # fmt: skip

    def forward(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Run the network over one padded batch; see `Runtime.forward`."""
        torch = self._torch
        if self._network is None:
            raise Internal("the network is closed")
        with self._lock, torch.inference_mode():
            try:
                return self._run(token_ids, lengths)
            except torch.OutOfMemoryError as error:
                # The queue tries halves of the pass: what this one still holds must be gone.
                torch.cuda.empty_cache()
                raise MemoryError(f"the device is out of memory: {error}") from error
            except RuntimeError as error:
                raise Internal(f"PyTorch cannot run the network over this: {error}") from error

    def close(self) -> None:
        """Let go of the network and of the device's memory."""
        self._network = self._token_head = None
        self._projections = []
        if self._device == "cuda":
            self._torch.cuda.empty_cache()

    def _run(self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[np.float32]:
        torch = self._torch
        ids = torch.from_numpy(token_ids.astype(np.int64)).to(self._device)
        counts = torch.from_numpy(lengths.astype(np.int64)).to(self._device)
        real = torch.arange(ids.shape[1], device=self._device)[None, :] < counts[:, None]
        states = self._network(input_ids=ids, attention_mask=real.long()).last_hidden_state.float()
        pooled = self._pool(states, real, counts)
        for linear, activation in self._projections:
            pooled = _apply(pooled, linear)
            pooled = torch.tanh(pooled) if activation == "tanh" else pooled
        if self._token_head is not None:
            weights = torch.relu(_apply(states, self._token_head))[:, :, 0]
            pooled = torch.cat([pooled, weights], dim=1)
        return np.asarray(pooled.cpu().numpy(), np.float32)

    def _pool(self, states: Tensor, real: Tensor, counts: Tensor) -> Tensor:
        pooling = self._head.pooling
        if pooling == "cls":
            return states[:, 0]
        if pooling == "last":
            rows = self._torch.arange(len(states), device=self._device)
            return states[rows, counts - 1]
        if pooling == "max":
            return states.masked_fill(~real[:, :, None], _NOTHING).amax(dim=1)
        return (states * real[:, :, None]).sum(dim=1) / counts[:, None]

    def _load(self, linear: Linear) -> tuple[Tensor, Tensor | None]:
        torch = self._torch
        weight = torch.from_numpy(np.array(linear.weight.f32())).to(self._device)
        bias = None if linear.bias is None else torch.from_numpy(np.array(linear.bias))
        return weight, None if bias is None else bias.to(self._device)


def _load_network(folder: Path, kind: Any) -> Any:
    import transformers  # heavy: only when a runtime is opened

    try:
        return transformers.AutoModel.from_pretrained(
            folder, dtype=kind, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library raises many kinds
        raise Conflict(f"{folder} cannot be run by transformers: {error}") from error


def _apply(states: Tensor, linear: tuple[Tensor, Tensor | None]) -> Tensor:
    weight, bias = linear
    product = states @ weight.T
    return product if bias is None else product + bias


def _choose_precision(torch: Any, device: str, precision: Precision) -> str:
    has_bf16 = device == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bf16" and not has_bf16:
        raise Conflict(f"{device} has no fast bf16: set inference.precision to 'auto' or 'f32'")
    if precision in ("int8", "int4"):
        raise Conflict(
            f"{precision} runs on the CPU, where a light path is: set inference.precision"
        )
    return "bf16" if has_bf16 and precision != "f32" else "f32"


def _refuse_odd_numbers(torch: Any, network: Any, folder: Path) -> None:
    for name, tensor in network.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise Conflict(f"{folder}: {name} holds numbers that are not finite")


def _max_tokens(config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return _NO_LIMIT
    return positions - 2 if config.model_type in _OFFSET_POSITIONS else positions
