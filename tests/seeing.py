"""
Tiny random checkpoints of the families that take images, in the layout of published ones.

Needs PyTorch. The networks are drawn by the libraries' own classes, larger than they draw them
themselves: a last state must depend on what was seen, not only on the last word.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import AddedToken, processors

from families import byte_pairs, write_json

CHAT_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The part of Qwen's template that contents without tools need."""

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_DEVIATION = [0.26862954, 0.26130258, 0.27577711]
M2_WIDTHS = {"m2_encoder_0.4B.ckpt": 768, "m2_encoder_1B.ckpt": 1024}


def write_qwen3_vl(folder: Path, *, closes: bool = False) -> None:
    """
    Write a Qwen3-VL-Embedding of two layers.

    Args:
        folder: Where.

        closes: Whether the tokenizer itself ends every text, as Qwen3-Embedding's does.
    """
    ids = _write_chat_tokenizer(folder, "Qwen2Tokenizer", closes=closes)
    text = {
        "vocab_size": ids["vocabulary"], "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 4096, "initializer_range": 0.25,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
    }  # fmt: skip
    vision = {
        "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "in_channels": 3,
        "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 64,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
        "initializer_range": 0.25,
    }  # fmt: skip
    config = transformers.Qwen3VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, **_chat_ids(ids)
    )
    torch.manual_seed(1)
    transformers.Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    common = {
        "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    size = {"longest_edge": 16_777_216, "shortest_edge": 65_536}
    write_json(
        folder / "preprocessor_config.json",
        {"size": size, **common, "image_processor_type": "Qwen2VLImageProcessorFast"},
    )
    write_json(
        folder / "video_preprocessor_config.json",
        {"size": {"longest_edge": 25_165_824, "shortest_edge": 4096}, **common,
         "video_processor_type": "Qwen3VLVideoProcessor"},
    )  # fmt: skip


def write_gme(folder: Path) -> None:
    """Write a GME of two layers, its tensors under the names that Qwen2-VL was published with."""
    ids = _write_chat_tokenizer(folder, "Qwen2Tokenizer", closes=False)
    vision = {
        "depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3,
        "initializer_range": 0.25,
    }  # fmt: skip
    text = {
        "vocab_size": ids["vocabulary"], "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 4096, "initializer_range": 0.25,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2]
        },
    }  # fmt: skip
    config = transformers.Qwen2VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, **_chat_ids(ids)
    )
    torch.manual_seed(2)
    network = transformers.Qwen2VLForConditionalGeneration(config)
    network.save_pretrained(folder)
    write_json(
        folder / "preprocessor_config.json",
        {"min_pixels": 3136, "max_pixels": 12_845_056, "patch_size": 14,
         "temporal_patch_size": 2, "merge_size": 2,
         "image_mean": CLIP_MEAN, "image_std": CLIP_DEVIATION,
         "image_processor_type": "Qwen2VLImageProcessor"},
    )  # fmt: skip


def write_clip(folder: Path) -> None:
    """Write a CLIP of two layers in each tower."""
    tokenizer = byte_pairs("<|startoftext|>", "<|endoftext|>")
    _save(tokenizer, folder, pad_token="<|endoftext|>", model_max_length=24)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2, "initializer_range": 0.2, "initializer_factor": 3.0,
             "projection_dim": 24}  # fmt: skip
    end = tokenizer.token_to_id("<|endoftext|>")
    config = transformers.CLIPConfig(
        text_config={**tower, "vocab_size": tokenizer.get_vocab_size(), "eos_token_id": end,
                     "bos_token_id": tokenizer.token_to_id("<|startoftext|>"),
                     "pad_token_id": end, "max_position_embeddings": 24},
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        projection_dim=24, initializer_factor=3.0,
    )  # fmt: skip
    torch.manual_seed(3)
    transformers.CLIPModel(config).save_pretrained(folder)
    write_json(
        folder / "preprocessor_config.json",
        {"crop_size": 64, "size": 64, "do_center_crop": True, "do_normalize": True,
         "do_resize": True, "resample": 3, "image_mean": CLIP_MEAN, "image_std": CLIP_DEVIATION,
         "feature_extractor_type": "CLIPFeatureExtractor"},
    )  # fmt: skip


def write_siglip(folder: Path) -> None:
    """Write a SigLIP 2 of two layers in each tower."""
    tokenizer = byte_pairs(None, "<eos>")
    _save(tokenizer, folder, pad_token="[PAD]", eos_token="<eos>", model_max_length=16)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    config = transformers.SiglipConfig(
        text_config={**tower, "vocab_size": tokenizer.get_vocab_size(),
                     "max_position_embeddings": 16, "projection_size": 32,
                     "pad_token_id": tokenizer.token_to_id("[PAD]"),
                     "eos_token_id": tokenizer.token_to_id("<eos>"), "bos_token_id": 0},
        vision_config={**tower, "image_size": 48, "patch_size": 16},
    )  # fmt: skip
    torch.manual_seed(4)
    network = transformers.SiglipModel(config)
    _redraw(network)
    network.save_pretrained(folder)
    write_json(
        folder / "preprocessor_config.json",
        {"size": {"height": 48, "width": 48}, "do_resize": True, "do_normalize": True,
         "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
         "image_processor_type": "SiglipImageProcessor"},
    )  # fmt: skip


def write_m2(
    folder: Path, *, file: str = "m2_encoder_0.4B.ckpt", key: str | None = "module"
) -> None:
    """
    Write an M2-Encoder of two layers and one that is shared.

    Args:
        folder: Where.

        file: The checkpoint's name.

        key: Under which its tensors lie in the file; none for bare ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces = _train_pieces(folder / "vlmo" / "tokenizer")
    tensors = {
        name: torch.from_numpy(values)
        for name, values in m2_tensors(out=M2_WIDTHS[file], vocabulary=pieces).items()
    }
    torch.save({key: tensors} if key else tensors, folder / file)


def m2_tensors(
    *, out: int, vocabulary: int, width: int = 64, layers: int = 2, side: int = 16, patches: int = 9
) -> dict[str, NDArray[np.float32]]:
    """Draw M2-Encoder's tensors by their published names, some that nothing needs among them."""
    drawn = np.random.default_rng(5)

    def draw(*shape: int, around: float = 0.0, spread: float = 0.15) -> NDArray[np.float32]:
        return (around + spread * drawn.standard_normal(shape)).astype(np.float32)

    found = {
        "backbone.text_embed.weight": draw(vocabulary, width, spread=0.5),
        "backbone.vision_embed.mask_token": draw(1, 1, width),
        "backbone.vision_embed.cls_token": draw(1, 1, width),
        "backbone.vision_embed.proj.weight": draw(width, 3, side, side, spread=0.05),
        "backbone.vision_embed.proj.bias": draw(width),
        "backbone.encoder.embed_positions.A.weight": draw(patches + 3, width),
        "backbone.encoder.embed_positions.B.weight": draw(1024, width),
        "logit_scale": np.array(2.6, np.float32),
    }
    for name in ("itc_text_proj", "itc_image_proj", "itc_vl_text_proj", "itc_vl_image_proj"):
        found[f"{name}.fc.weight"] = draw(out, width)
    norms, linears = [], {}
    for stack, count in (("backbone.encoder", layers), ("backbone_vl", 1)):
        for expert in "AB":
            norms.append((f"{stack}.layer_norm.{expert}", width))
            for number in range(count):
                layer = f"{stack}.layers.{number}"
                for each in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    linears[f"{layer}.self_attn.{each}.{expert}"] = (width, width)
                linears[f"{layer}.ffn.{expert}.fc1"] = (4 * width, width)
                linears[f"{layer}.ffn.{expert}.fc2"] = (width, 4 * width)
                norms += [
                    (f"{layer}.self_attn.inner_attn_ln.{expert}", width),
                    (f"{layer}.self_attn_layer_norm.{expert}", width),
                    (f"{layer}.final_layer_norm.{expert}", width),
                    (f"{layer}.ffn.{expert}.ffn_layernorm", 4 * width),
                ]
    for name, shape in linears.items():
        found[f"{name}.weight"] = draw(*shape)
        found[f"{name}.bias"] = draw(shape[0])
    for name, size in norms:
        found[f"{name}.weight"] = draw(size, around=1.0)
        found[f"{name}.bias"] = draw(size)
    return found


WRITERS = {
    "qwen3_vl": write_qwen3_vl,
    "gme": write_gme,
    "clip": write_clip,
    "siglip": write_siglip,
    "m2": write_m2,
}


def drawn_picture(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Draw coloured blocks with some noise."""
    drawn = np.random.default_rng(seed)
    blocks = drawn.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    large = np.kron(blocks, np.ones((8, 8, 1)))[:height, :width]
    return np.clip(large + drawn.normal(0, 12, large.shape), 0, 255).astype(np.uint8)


def _write_chat_tokenizer(folder: Path, kind: str, *, closes: bool) -> dict[str, int]:
    tokenizer = byte_pairs(None, "<|endoftext|>")
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in CHAT_TOKENS])
    if not closes:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    _save(tokenizer, folder, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    write_json(folder / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    found = {name: tokenizer.token_to_id(name) for name in CHAT_TOKENS}
    return {**found, "vocabulary": tokenizer.get_vocab_size()}


def _chat_ids(ids: dict[str, int]) -> dict[str, int]:
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def _save(tokenizer: Any, folder: Path, **names: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096, **names}
    write_json(folder / "tokenizer_config.json", facts)


def _redraw(network: Any) -> None:
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.ndim > 1 and "norm" not in name:
                tensor.normal_(0, 0.3)


def _train_pieces(folder: Path) -> int:
    """Train a tokenizer on letters drawn from a fixed seed; says how many pieces it has."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(6)
    words = ["cat", "dog", "mat", "the", "on", "a", "猫", "狗", "皮卡丘", "妙蛙种子", "red", "blue"]
    text = folder / "text"
    text.write_text(
        "\n".join(" ".join(drawn.choices(words, k=8)) for _ in range(400)), encoding="utf-8"
    )
    blanks = [f"<|blank_{length}|>" for length in range(2, 11)]
    sentencepiece.SentencePieceTrainer.Train(
        input=str(text), model_prefix=str(folder / "sp"), vocab_size=90, model_type="unigram",
        user_defined_symbols=["<|endoftext|>", "[CLS]", "[MASK]", *blanks],
        hard_vocab_limit=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    text.unlink()
    (folder / "sp.vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))
    return int(pieces.vocab_size())
