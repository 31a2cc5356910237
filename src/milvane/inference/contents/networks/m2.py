"""
M2-Encoder, whose network transformers does not have.

Written after the published description (BEiT-3 with experts for pictures and words, Guo et al.,
2024, https://arxiv.org/abs/2401.15896) and the names of the tensors in ``m2_encoder_*.ckpt``: a
stack in which pictures take the experts ``A`` and texts ``B``, then a few layers in which both take
``A``; layers normalize before, and once more within (sub-LN). The vector is the projected state of
the first token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milvane.domain.errors import Conflict
from milvane.inference.contents.networks.device import Device
from milvane.inference.contents.networks.loading import refuse_gaps

HEAD_WIDTH = 64
"""Of the base and the large network."""
EPSILON = 1e-5
FIRST_POSITION = 2
"""Positions are counted from here, as in Fairseq."""

PICTURES, TEXTS, BOTH = "A", "B", "A"
"""Which experts read what; `BOTH` in the layers that pictures and texts share."""

_OWN, _SHARED = "backbone.encoder", "backbone_vl"
_LINEAR = ("q_proj", "k_proj", "v_proj", "out_proj")


@dataclass(frozen=True, slots=True)
class M2Shape:
    """What the tensors' own shapes say of a network."""

    width: int
    out: int
    layers: int
    """Before those that pictures and texts share."""
    shared_layers: int
    patch_side: int
    patches: int
    """Of an image."""
    text_positions: int

    @property
    def image_side(self) -> int:
        """Of an image, in pixels."""
        return math.isqrt(self.patches) * self.patch_side


class M2Pair:
    """M2-Encoder's towers; a `Pair`."""

    padding = 0
    fixed_tokens: int | None = None

    def __init__(self, path: Path, device: Device) -> None:
        """
        Load a checkpoint.

        Args:
            path: The file; code in it is never run.

            device: Where it runs.

        Raises:
            Conflict: If it cannot be read, or is not of this family.
        """
        self._torch = device.torch
        tensors = _read(device, path)
        self.shape = read_shape(tensors, path)
        wanted = list(_names(self.shape))
        refuse_gaps([name for name in wanted if name not in tensors], (), path)
        self._tensors = {
            name: tensors[name].to(device=device.name, dtype=device.dtype) for name in wanted
        }
        for name, tensor in self._tensors.items():
            if not bool(device.torch.isfinite(tensor).all()):
                raise Conflict(f"{path}: {name} holds numbers that are not finite: pull it again")
        self.width = self.shape.out

    def read(self, ids: Any, real: Any) -> Any:
        """Give the vectors of texts."""
        states = self._tensors["backbone.text_embed.weight"][ids]
        states = states + self._positions(TEXTS, ids.shape[1])
        mask = real.bool()[:, None, None, :]
        states = self._stack(states, _OWN, self.shape.layers, TEXTS, mask)
        states = self._stack(states, _SHARED, self.shape.shared_layers, BOTH, mask)
        return states[:, 0] @ self._tensors["itc_vl_text_proj.fc.weight"].T

    def look(self, pixels: Any) -> Any:
        """Give the vectors of pictures."""
        tensors, torch = self._tensors, self._torch
        patches = torch.nn.functional.conv2d(
            pixels,
            tensors["backbone.vision_embed.proj.weight"],
            tensors["backbone.vision_embed.proj.bias"],
            stride=self.shape.patch_side,
        )
        first = tensors["backbone.vision_embed.cls_token"].expand(len(pixels), -1, -1)
        states = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
        states = states + self._positions(PICTURES, states.shape[1])
        states = self._stack(states, _OWN, self.shape.layers, PICTURES, None)
        states = self._stack(states, _SHARED, self.shape.shared_layers, BOTH, None)
        return states[:, 0] @ tensors["itc_vl_image_proj.fc.weight"].T

    def _positions(self, expert: str, count: int) -> Any:
        table = self._tensors[f"{_OWN}.embed_positions.{expert}.weight"]
        return table[FIRST_POSITION : FIRST_POSITION + count]

    def _stack(self, states: Any, stack: str, layers: int, expert: str, mask: Any) -> Any:
        for number in range(layers):
            layer = f"{stack}.layers.{number}"
            normed = self._norm(states, f"{layer}.self_attn_layer_norm.{expert}")
            states = states + self._attend(normed, f"{layer}.self_attn", expert, mask)
            normed = self._norm(states, f"{layer}.final_layer_norm.{expert}")
            states = states + self._think(normed, f"{layer}.ffn.{expert}")
        return self._norm(states, f"{stack}.layer_norm.{expert}")

    def _attend(self, states: Any, name: str, expert: str, mask: Any) -> Any:
        rows, tokens, width = states.shape
        query, key, value = (
            self._linear(states, f"{name}.{each}_proj.{expert}")
            .view(rows, tokens, width // HEAD_WIDTH, HEAD_WIDTH)
            .transpose(1, 2)
            for each in "qkv"
        )
        attend = self._torch.nn.functional.scaled_dot_product_attention
        seen = attend(query, key, value, attn_mask=mask).transpose(1, 2).reshape(states.shape)
        normed = self._norm(seen, f"{name}.inner_attn_ln.{expert}")
        return self._linear(normed, f"{name}.out_proj.{expert}")

    def _think(self, states: Any, name: str) -> Any:
        inner = self._torch.nn.functional.gelu(self._linear(states, f"{name}.fc1"))
        return self._linear(self._norm(inner, f"{name}.ffn_layernorm"), f"{name}.fc2")

    def _linear(self, states: Any, name: str) -> Any:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        return self._torch.nn.functional.linear(states, weight, bias)

    def _norm(self, states: Any, name: str) -> Any:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        return self._torch.nn.functional.layer_norm(states, weight.shape, weight, bias, EPSILON)


def read_shape(tensors: Mapping[str, Any], path: Path) -> M2Shape:
    """
    Say what network tensors make.

    Raises:
        Conflict: If they are of another family.
    """
    try:
        width, _, side, _ = tensors["backbone.vision_embed.proj.weight"].shape
        shape = M2Shape(
            width=width,
            out=len(tensors["itc_vl_text_proj.fc.weight"]),
            layers=_count(tensors, _OWN),
            shared_layers=_count(tensors, _SHARED),
            patch_side=side,
            patches=len(tensors[f"{_OWN}.embed_positions.A.weight"]) - FIRST_POSITION - 1,
            text_positions=len(tensors[f"{_OWN}.embed_positions.B.weight"]) - FIRST_POSITION,
        )
    except KeyError as error:
        raise Conflict(f"{path} is no M2-Encoder: it has no tensor {error}") from error
    if width % HEAD_WIDTH or math.isqrt(shape.patches) ** 2 != shape.patches:
        raise Conflict(f"{path} is no M2-Encoder of a size that is known here")
    return shape


def _count(tensors: Mapping[str, Any], stack: str) -> int:
    layers = (name.removeprefix(f"{stack}.layers.") for name in tensors
              if name.startswith(f"{stack}.layers."))  # fmt: skip
    return len({name.partition(".")[0] for name in layers})


def _names(shape: M2Shape) -> Iterator[str]:
    """List the tensors that vectors depend on."""
    yield from (
        "backbone.text_embed.weight",
        "backbone.vision_embed.cls_token",
        "backbone.vision_embed.proj.weight",
        "backbone.vision_embed.proj.bias",
        f"{_OWN}.embed_positions.A.weight",
        f"{_OWN}.embed_positions.B.weight",
        "itc_vl_text_proj.fc.weight",
        "itc_vl_image_proj.fc.weight",
    )
    stacks = ((_OWN, shape.layers, (PICTURES, TEXTS)), (_SHARED, shape.shared_layers, (BOTH,)))
    for stack, layers, experts in stacks:
        for expert in experts:
            blocks = [f"{stack}.layer_norm.{expert}"]
            for number in range(layers):
                layer = f"{stack}.layers.{number}"
                blocks += [f"{layer}.self_attn.{each}.{expert}" for each in _LINEAR]
                blocks += [
                    f"{layer}.self_attn.inner_attn_ln.{expert}",
                    f"{layer}.self_attn_layer_norm.{expert}",
                    f"{layer}.final_layer_norm.{expert}",
                    f"{layer}.ffn.{expert}.fc1",
                    f"{layer}.ffn.{expert}.fc2",
                    f"{layer}.ffn.{expert}.ffn_layernorm",
                ]
            for block in blocks:
                yield f"{block}.weight"
                yield f"{block}.bias"


def _read(device: Device, path: Path) -> dict[str, Any]:
    """Read a checkpoint as its trainers wrote it: bare, or within one of three names."""
    try:
        found = device.torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the library raises many kinds
        raise Conflict(f"{path} is not a weights file that can be read: {error}") from error
    for key in ("state_dict", "module", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping):
        raise Conflict(f"{path} holds no named tensors")
    return {str(name).removeprefix("_forward_module."): each for name, each in found.items()}
