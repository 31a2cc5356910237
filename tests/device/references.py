"""
The families as their authors run them, on the same checkpoints: what our vectors must be.

Qwen3-VL-Embedding after its ``scripts/qwen3_vl_embedding.py``, GME after its ``gme_inference.py``,
CLIP and SigLIP after transformers' own examples, with transformers' processors. M2-Encoder after
its paper and its published network, one input at a time and without any masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.video_utils import VideoMetadata

from seeing import CHAT_TEMPLATE

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]


class _Videos(Qwen3VLVideoProcessor):
    """Scales without torchvision, which has no build here; patches are the library's."""

    def rescale_and_normalize(
        self, images: Any, do_rescale: bool, factor: float, do_normalize: bool, mean: Any, std: Any
    ) -> Any:
        """Scale bytes to what the network was trained with."""
        assert do_rescale
        assert do_normalize
        shape = (-1, 1, 1)
        return (images.float() * factor - torch.tensor(mean).view(shape)) / torch.tensor(std).view(
            shape
        )


class _Qwen3VL(Qwen3VLProcessor):
    def check_argument_for_proper_class(self, *_: Any) -> None:
        """Take the processors that need no torchvision."""


class _Qwen2VL(Qwen2VLProcessor):
    def check_argument_for_proper_class(self, *_: Any) -> None:
        """Take the processors that need no torchvision."""


class Qwen3VL:
    """Qwen3-VL-Embedding."""

    def __init__(self, folder: Path) -> None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="right")
        self.processor = _Qwen3VL(
            Qwen2VLImageProcessorPil.from_pretrained(folder),
            tokenizer,
            _Videos.from_pretrained(folder, do_convert_rgb=False, cap_pixels_per_frame=True),
            chat_template=CHAT_TEMPLATE,
        )
        self.network = transformers.Qwen3VLForConditionalGeneration.from_pretrained(folder).eval()

    def inputs(
        self,
        text: str | None = None,
        image: Pixels | None = None,
        video: tuple[Pixels, Sequence[int], float] | None = None,
        instruction: str = "Represent the user's input.",
    ) -> Any:
        """
        Prepare one content whose pictures have their sizes already.

        Args:
            text: Its words.

            image: Its image.

            video: Frames, their numbers in the whole video, and that one's frames per second.

            instruction: The system's.
        """
        parts = [{"type": "video"}] if video else []
        parts += [{"type": "image"}] if image is not None else []
        parts += [{"type": "text", "text": text}] if text else []
        conversation = [
            {"role": "system", "content": [{"type": "text", "text": instruction}]},
            {"role": "user", "content": parts or [{"type": "text", "text": "NULL"}]},
        ]
        prompt = self.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        # The version that the weights were published with replaced the frame around a video too.
        prompt = prompt.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")
        given: dict[str, Any] = {}
        if image is not None:
            given["images"] = [Image.fromarray(image)]
        if video:
            frames, numbers, fps = video
            given["videos"] = [torch.from_numpy(frames).permute(0, 3, 1, 2)]
            given["video_metadata"] = [
                VideoMetadata(total_num_frames=1000, fps=fps, frames_indices=[*numbers])
            ]
        return self.processor(
            text=[prompt], **given, do_resize=False, do_sample_frames=False, return_tensors="pt"
        )

    def vector(self, **content: Any) -> Vectors:
        """Embed one content."""
        with torch.no_grad():
            states = self.network.model(**self.inputs(**content)).last_hidden_state
        return _unit(states[:, -1])[0]


class Gme:
    """GME-Qwen2-VL."""

    def __init__(self, folder: Path) -> None:
        self.processor = _Qwen2VL(
            Qwen2VLImageProcessorPil.from_pretrained(
                folder, min_pixels=256 * 28 * 28, max_pixels=1280 * 28 * 28
            ),
            transformers.AutoTokenizer.from_pretrained(folder, padding_side="right"),
            _Videos(),
            chat_template=CHAT_TEMPLATE,
        )
        self.network = transformers.Qwen2VLForConditionalGeneration.from_pretrained(folder).eval()

    def inputs(
        self,
        text: str | None = None,
        image: Pixels | None = None,
        instruction: str = "You are a helpful assistant.",
    ) -> Any:
        """Prepare one content; its image has its own size yet."""
        shown = "" if image is None else "<|vision_start|><|image_pad|><|vision_end|>"
        prompt = (
            f"<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{shown}{text or ''}"
            "<|im_end|>\n<|im_start|>assistant\n<|endoftext|>"
        )
        images = None if image is None else [Image.fromarray(image)]
        return self.processor(text=[prompt], images=images, return_tensors="pt")

    def vector(self, **content: Any) -> Vectors:
        """Embed one content."""
        with torch.no_grad():
            states = self.network.model(**self.inputs(**content)).last_hidden_state
        return _unit(states[:, -1])[0]


class Clip:
    """CLIP, as the example in transformers' documentation has it."""

    def __init__(self, folder: Path) -> None:
        self.network = transformers.CLIPModel.from_pretrained(folder).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.images = CLIPImageProcessorPil.from_pretrained(folder)

    def vector(self, text: str | None = None, image: Pixels | None = None) -> Vectors:
        """Embed a text or an image."""
        with torch.no_grad():
            if text is not None:
                inputs = self.tokenizer([text], padding=True, return_tensors="pt")
                inputs.pop("token_type_ids", None)
                return _unit(self.network.get_text_features(**inputs).pooler_output)[0]
            pixels = self.images(Image.fromarray(image), return_tensors="pt")
            return _unit(self.network.get_image_features(**pixels).pooler_output)[0]


class Siglip:
    """SigLIP, whose texts are filled up as it was trained, without a mask."""

    def __init__(self, folder: Path) -> None:
        self.network = transformers.SiglipModel.from_pretrained(folder).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.images = SiglipImageProcessorPil.from_pretrained(folder)

    def vector(self, text: str | None = None, image: Pixels | None = None) -> Vectors:
        """Embed a text or an image."""
        with torch.no_grad():
            if text is not None:
                inputs = self.tokenizer(
                    [text], padding="max_length", max_length=16, return_tensors="pt"
                )
                found = self.network.get_text_features(input_ids=inputs["input_ids"])
                return _unit(found.pooler_output)[0]
            pixels = self.images(Image.fromarray(image), return_tensors="pt")
            return _unit(self.network.get_image_features(**pixels).pooler_output)[0]


class M2:
    """M2-Encoder in NumPy, layer by layer, an expert of its own for pictures and for texts."""

    def __init__(self, folder: Path) -> None:
        found = torch.load(next(folder.glob("*.ckpt")), weights_only=True)
        while "logit_scale" not in found:
            found = next(iter(found.values()))
        self.tensors = {name: each.double().numpy() for name, each in found.items()}
        path = folder / "vlmo" / "tokenizer" / "sp.model"
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def vector(self, text: str | None = None, image: Pixels | None = None) -> Vectors:
        """Embed a text or an image."""
        if text is not None:
            return self._finish(self._words(text), "B", "text")
        return self._finish(self._patches(image), "A", "image")

    def _words(self, text: str) -> NDArray[np.float64]:
        for length in range(10, 1, -1):
            text = text.replace(" " * length, f"<|blank_{length}|>")
        pieces = [self.pieces.PieceToId(piece) for piece in self.pieces.EncodeAsPieces(text)]
        ids = [self.pieces.PieceToId("[CLS]"), *pieces, self.pieces.PieceToId("<|endoftext|>")]
        states = self.tensors["backbone.text_embed.weight"][ids]
        table = self.tensors["backbone.encoder.embed_positions.B.weight"]
        return states + table[2 : 2 + len(ids)]

    def _patches(self, image: Pixels | None) -> NDArray[np.float64]:
        assert image is not None
        kernel = self.tensors["backbone.vision_embed.proj.weight"]
        width, _, side, _ = kernel.shape
        table = self.tensors["backbone.encoder.embed_positions.A.weight"]
        across = math.isqrt(len(table) - 3)
        square = Image.fromarray(image).resize((across * side,) * 2, Image.Resampling.BICUBIC)
        pixels = (np.asarray(square, np.float64) / 255 - 0.5) / 0.5
        states = [self.tensors["backbone.vision_embed.cls_token"][0, 0]]
        for row in range(across):
            for column in range(across):
                patch = pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
                channels_first = patch.transpose(2, 0, 1).ravel()
                states.append(
                    kernel.reshape(width, -1) @ channels_first
                    + self.tensors["backbone.vision_embed.proj.bias"]
                )
        return np.stack(states) + table[2 : 2 + len(states)]

    def _finish(self, states: NDArray[np.float64], expert: str, kind: str) -> Vectors:
        states = self._stack(states, "backbone.encoder", expert)
        states = self._stack(states, "backbone_vl", "A")
        vector = self.tensors[f"itc_vl_{kind}_proj.fc.weight"] @ states[0]
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    def _stack(self, states: NDArray[np.float64], stack: str, expert: str) -> NDArray[np.float64]:
        number = 0
        while f"{stack}.layers.{number}.ffn.A.fc1.weight" in self.tensors:
            layer = f"{stack}.layers.{number}"
            normed = self._norm(states, f"{layer}.self_attn_layer_norm.{expert}")
            query, key, value = (
                self._linear(normed, f"{layer}.self_attn.{each}_proj.{expert}") for each in "qkv"
            )
            heads = []
            for begin in range(0, states.shape[1], 64):
                own = slice(begin, begin + 64)
                scores = query[:, own] @ key[:, own].T / 8
                chances = np.exp(scores - scores.max(axis=1, keepdims=True))
                heads.append(chances / chances.sum(axis=1, keepdims=True) @ value[:, own])
            seen = np.concatenate(heads, axis=1)
            seen = self._norm(seen, f"{layer}.self_attn.inner_attn_ln.{expert}")
            states = states + self._linear(seen, f"{layer}.self_attn.out_proj.{expert}")
            normed = self._norm(states, f"{layer}.final_layer_norm.{expert}")
            inner = self._linear(normed, f"{layer}.ffn.{expert}.fc1")
            erf = torch.erf(torch.from_numpy(inner / math.sqrt(2))).numpy()
            inner = self._norm(0.5 * inner * (1 + erf), f"{layer}.ffn.{expert}.ffn_layernorm")
            states = states + self._linear(inner, f"{layer}.ffn.{expert}.fc2")
            number += 1
        return self._norm(states, f"{stack}.layer_norm.{expert}")

    def _linear(self, states: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return states @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def _norm(self, states: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = states - states.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]


REFERENCES = {"qwen3_vl": Qwen3VL, "gme": Gme, "clip": Clip, "siglip": Siglip, "m2": M2}


def _unit(vectors: Any) -> Vectors:
    return np.asarray(torch.nn.functional.normalize(vectors.float(), dim=-1).numpy())
