"""Which device PyTorch computes on, in which number format, and what its failures mean."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from milvane.domain.errors import Conflict, Internal
from milvane.inference.cores import usable_cores
from milvane.inference.runtimes.torch_network import find_device, is_torch_installed
from milvane.inference.settings import Precision

_FAST_BF16 = {"avx512_bf16", "amx_bf16"}
"""What Linux calls processors that multiply bf16 natively."""


class Device:
    """Where a network runs, and how."""

    def __init__(self, *, precision: Precision, threads: int) -> None:
        """
        Find the fastest device of this machine.

        Args:
            precision: ``auto`` takes bf16 where the device computes in it.

            threads: Cores that compute, where the processor does; 0 for all.

        Raises:
            Conflict: If PyTorch is not here, or the device has not the precision.
        """
        if not is_torch_installed():
            raise Conflict(
                "weights for images need PyTorch, which is not installed: "
                "pip install 'milvane[torch]'"
            )
        import torch  # heavy: only when a network is opened

        self.torch: Any = torch
        self.name = find_device()
        self.precision = _choose(torch, self.name, precision)
        self.dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.is_accelerated = self.name != "cpu"
        if not self.is_accelerated:
            torch.set_num_threads(threads or usable_cores())
        self.threads = int(torch.get_num_threads())

    @property
    def title(self) -> str:
        """What runs here, for people."""
        return f"PyTorch {self.torch.__version__} on {self.name}"

    @property
    def attention(self) -> str:
        """Which of transformers' ways to compute attention is fastest here over long contents."""
        has_flash = importlib.util.find_spec("flash_attn") is not None
        is_fast = self.name == "cuda" and self.precision == "bf16" and has_flash
        return "flash_attention_2" if is_fast else "sdpa"

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute without gradients, and say in our words what goes wrong."""
        torch = self.torch
        try:
            with torch.inference_mode():
                yield
        except torch.OutOfMemoryError as error:
            # The queue tries halves of the pass: what this one still holds must be gone.
            self.empty()
            raise MemoryError(f"the device is out of memory: {error}") from error
        except RuntimeError as error:
            raise Internal(f"PyTorch cannot run the network over this: {error}") from error

    def empty(self) -> None:
        """Give back memory that is kept for later."""
        if self.name == "cuda":
            self.torch.cuda.empty_cache()
        elif self.name == "mps":
            self.torch.mps.empty_cache()


def _choose(torch: Any, device: str, precision: Precision) -> str:
    has_bf16 = _has_bf16(torch, device)
    if precision == "bf16" and not has_bf16:
        raise Conflict(f"{device} has no fast bf16: set inference.precision to 'auto' or 'f32'")
    if precision in ("int8", "int4"):
        raise Conflict(
            f"{precision} is for texts: set inference.precision to 'auto', 'bf16' or 'f32'"
        )
    return "bf16" if has_bf16 and precision != "f32" else "f32"


def _has_bf16(torch: Any, device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device == "mps":
        return _computes_bf16(torch, device)
    return bool(_FAST_BF16 & processor_features())


def _computes_bf16(torch: Any, device: str) -> bool:
    """Try what vision networks do: older systems of Apple have no bf16 for all of it."""
    try:
        ones = torch.ones(1, 3, 2, 4, 4, dtype=torch.bfloat16, device=device)
        kernel = torch.ones(2, 3, 2, 4, 4, dtype=torch.bfloat16, device=device)
        torch.nn.functional.conv3d(ones, kernel).flatten().cpu()
    except (RuntimeError, TypeError):
        return False
    return True


def processor_features(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """List what the first core can do, as Linux names it; nothing elsewhere."""
    if os.name != "posix" or not path.exists():
        return frozenset()
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()
