"""Settings of the inference engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from milvane.inference.remote.settings import RemoteSettings
from milvane.sections import Section

Precision = Literal["auto", "bf16", "f32", "int8", "int4"]


class InferenceSettings(Section):
    """How the weights are run, and how much work may wait for them."""

    max_pass_tokens: int = Field(
        default=512,
        ge=64,
        description="Tokens of one forward pass, padding included. Larger passes are hardly faster "
        "on a CPU, and a query waits for the pass before it.",
    )
    max_pending_tokens: int = Field(
        default=1_048_576,
        ge=1,
        description="Waiting tokens per lane from which on new requests are refused.",
    )
    max_pending_inputs: int = Field(
        default=65_536,
        ge=1,
        description="Waiting inputs (windows of texts) per lane from which on new requests are "
        "refused. One request may exceed both limits alone.",
    )
    max_content_pass_tokens: int = Field(
        default=0,
        ge=0,
        description="Tokens of one forward pass of weights that take images, those of the images "
        "included; 0 for 16,384 on a GPU and 2,048 on a processor.",
    )
    max_pending_content_tokens: int = Field(
        default=131_072,
        ge=1,
        description="Waiting tokens per lane, those of images included, from which on new contents "
        "are refused. An image waits as pixels, about 3 KB for a token.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        description="Cores that compute; 0 takes all that the process may use.",
    )
    precision: Precision = Field(
        default="auto",
        description="Number format of the network: bf16 where the processor has it natively, "
        "else f32; or int8 or int4, which keep matrices in 8 or 4 bits, but not those of weights "
        "that take images. What that costs is measured by `milvane models compare`.",
    )
    isolated: bool = Field(
        default=False,
        description="Run each network for texts in a process of its own, which is started again "
        "if it crashes.",
    )
    weights_dir: Path | None = Field(
        default=None,
        description="Folder of the weight sets; milvane/weights in the user's cache folder if "
        "not given.",
    )
    remote: Mapping[str, RemoteSettings] = Field(
        default={},
        description="Servers elsewhere, by the name that `[deployments]` has for them; see "
        "[Serve models elsewhere](../how-to/serve-models-elsewhere.md).",
    )

    def weights_of(self, deployed: str) -> str:
        """Say which set of weights a name of `[deployments]` stands for."""
        remote = self.remote.get(deployed)
        return remote.weights if remote else deployed
