"""
Tiny random checkpoints of each model family, in the layout that its real ones have on a hub.

Made with NumPy alone, the same numbers on every machine; `tests/reference/make_families.py` runs
the families' own code over the same folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

Floats = NDArray[np.float32]

TEXTS = (
    "the cat sat on the mat",
    "What is the capital of China?",
    "the dog ran far away from the cat, on and on",
    "a",
    "猫 sat on 42 mats 🙂",
    "far " * 40,
)
QUERIES = TEXTS[:3]
INSTRUCTION = "Find texts about cats"
WORDS = ("the", "cat", "sat", "on", "mat", "dog", "ran", "far", "away", "What", "is", "of", "and")

WIDTH, HEADS, LAYERS, INNER = 48, 4, 3, 96
QWEN_PROMPT = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)


class Drawing:
    """Draws tensors one after the other; each has a size that keeps activations near 1."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.tensors: dict[str, Floats] = {}

    def matrix(self, name: str, *shape: int) -> None:
        """Draw a matrix, or vectors that are looked up."""
        scale = 1.5 / np.sqrt(shape[-1]) if "emb" not in name else 1.0
        self.tensors[name] = (scale * self._random.standard_normal(shape)).astype(np.float32)

    def linear(self, name: str, rows: int, columns: int, *, bias: bool = True) -> None:
        """Draw a matrix and a bias."""
        self.matrix(f"{name}.weight", rows, columns)
        if bias:
            self.tensors[f"{name}.bias"] = self._vector(rows, 0.0)

    def norm(self, name: str, width: int, *, bias: bool = True) -> None:
        """Draw scales around 1, and shifts."""
        self.tensors[f"{name}.weight"] = self._vector(width, 1.0)
        if bias:
            self.tensors[f"{name}.bias"] = self._vector(width, 0.0)

    def _vector(self, width: int, around: float) -> Floats:
        return (around + 0.2 * self._random.standard_normal(width)).astype(np.float32)


def save(
    tensors: dict[str, Floats], path: Path, *, bf16: bool = False, metadata: bool = True
) -> None:
    """Write the safetensors format by hand, for NumPy has no bf16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}} if metadata else {}
    blobs, start = [], 0
    for name, values in tensors.items():
        blob = to_bf16(values).tobytes() if bf16 else values.tobytes()
        header[name] = {
            "dtype": "BF16" if bf16 else "F32",
            "shape": list(values.shape),
            "data_offsets": [start, start + len(blob)],
        }
        blobs.append(blob)
        start += len(blob)
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    path.write_bytes(len(written).to_bytes(8, "little") + written + b"".join(blobs))


def to_bf16(values: Floats) -> NDArray[np.uint16]:
    """Keep the upper 16 bits, rounded to even."""
    bits = values.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype(np.uint16)


def write_json(path: Path, content: Any) -> None:
    """Write a settings file, and the folder that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def write_sentence_transformer(
    folder: Path,
    pooling: str,
    *,
    dense: bool = False,
    prompts: dict[str, str] | None = None,
    max_tokens: int = 64,
) -> None:
    """Write what sentence-transformers writes beside a network."""
    kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    write_json(
        folder / "modules.json",
        [
            {
                "idx": index,
                "name": str(index),
                "path": f"{index}_{kind}" if index else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for index, kind in enumerate(kinds)
        ],
    )
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": WIDTH}
        | {f"pooling_mode_{mode}": mode == pooling for mode in modes}
        | {"include_prompt": True},
    )
    (folder / f"{len(kinds) - 1}_Normalize").mkdir(exist_ok=True)
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": max_tokens, "do_lower_case": False},
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "__version__": {"sentence_transformers": "2.7.0", "transformers": "4.51.2"},
            "prompts": prompts or {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    if dense:
        drawing = Drawing(77)
        drawing.linear("linear", 20, WIDTH)
        write_json(
            folder / "2_Dense" / "config.json",
            {
                "in_features": WIDTH,
                "out_features": 20,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        )
        save(drawing.tensors, folder / "2_Dense" / "model.safetensors")


def write_tokenizer(folder: Path, tokenizer: Tokenizer, **names: str) -> None:
    """Write a tokenizer, and the file that tells transformers about it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **names},
    )


def sentence_pieces() -> Tokenizer:
    """Make a tokenizer like XLM-RoBERTa's."""
    letters = sorted(set("".join(TEXTS)) - {" "})
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0 - index / 10) for index, word in enumerate(WORDS)]
    pieces += [(letter, -6.0) for letter in letters if letter != "🙂"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    return tokenizer


def byte_pairs(first: str | None, last: str) -> Tokenizer:
    """Make a byte-level tokenizer like those of Qwen3 and ModernBERT, with a few merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    for word in (*(f"Ġ{word}" for word in WORDS), ":W", "Query", "Instruct", "the", "cat"):
        whole = word[0]
        for letter in word[1:]:
            if (whole, letter) not in merges:
                merges.append((whole, letter))
            whole += letter
            vocabulary.setdefault(whole, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=_pattern(), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token in (first, last, "[PAD]") if token]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    template = f"{first} $A {last}" if first else f"$A {last}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template,
        pair=None,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last) if token],
    )
    return tokenizer


def _pattern() -> Any:
    from tokenizers import Regex

    return Regex(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def _encoder_layers(drawing: Drawing, prefix: str) -> None:
    for index in range(LAYERS):
        layer = f"{prefix}encoder.layer.{index}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            drawing.linear(f"{layer}.attention.{part}", WIDTH, WIDTH)
        drawing.linear(f"{layer}.intermediate.dense", INNER, WIDTH)
        drawing.linear(f"{layer}.output.dense", WIDTH, INNER)
        drawing.norm(f"{layer}.attention.output.LayerNorm", WIDTH)
        drawing.norm(f"{layer}.output.LayerNorm", WIDTH)


def write_xlm_roberta(folder: Path, *, sparse: bool = True) -> None:
    """Write a network like BGE-M3: XLM-RoBERTa, the first token's state, a sparse head."""
    tokenizer = sentence_pieces()
    write_tokenizer(folder, tokenizer, pad_token="<pad>", eos_token="</s>", cls_token="<s>")
    vocabulary, positions = tokenizer.get_vocab_size(), 66
    write_json(
        folder / "config.json",
        {
            "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta",
            "hidden_act": "gelu", "hidden_size": WIDTH, "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS, "intermediate_size": INNER, "type_vocab_size": 1,
            "max_position_embeddings": positions, "vocab_size": vocabulary, "pad_token_id": 1,
            "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5,
            "position_embedding_type": "absolute",
        },
    )  # fmt: skip
    drawing = Drawing(1)
    drawing.matrix("embeddings.word_embeddings.weight", vocabulary, WIDTH)
    drawing.matrix("embeddings.position_embeddings.weight", positions, WIDTH)
    drawing.matrix("embeddings.token_type_embeddings.weight", 1, WIDTH)
    drawing.norm("embeddings.LayerNorm", WIDTH)
    _encoder_layers(drawing, "")
    save(drawing.tensors, folder / "model.safetensors")
    write_sentence_transformer(folder, "cls_token")
    if sparse:
        head = Drawing(2)
        head.linear("", 1, WIDTH)
        tensors = {name.removeprefix("."): values for name, values in head.tensors.items()}
        save(tensors, folder / "sparse_linear.safetensors")


def write_bert(folder: Path) -> None:
    """Write a BERT network with a mean, a projection, prompts, and maxima in place of a mean."""
    tokenizer = byte_pairs("[CLS]", "[SEP]")
    write_tokenizer(folder, tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")
    vocabulary = tokenizer.get_vocab_size()
    write_json(
        folder / "config.json",
        {
            "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu",
            "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
            "intermediate_size": INNER, "type_vocab_size": 2, "max_position_embeddings": 64,
            "vocab_size": vocabulary, "pad_token_id": tokenizer.token_to_id("[PAD]"),
            "layer_norm_eps": 1e-12, "position_embedding_type": "absolute",
        },
    )  # fmt: skip
    drawing = Drawing(3)
    drawing.matrix("bert.embeddings.word_embeddings.weight", vocabulary, WIDTH)
    drawing.matrix("bert.embeddings.position_embeddings.weight", 64, WIDTH)
    drawing.matrix("bert.embeddings.token_type_embeddings.weight", 2, WIDTH)
    drawing.norm("bert.embeddings.LayerNorm", WIDTH)
    _encoder_layers(drawing, "bert.")
    save(drawing.tensors, folder / "model.safetensors")
    write_sentence_transformer(
        folder,
        "mean_tokens",
        dense=True,
        prompts={"query": "query: ", "passage": "passage: "},
    )


def write_bert_max(folder: Path) -> None:
    """Write the same network without a projection, pooled by maxima."""
    write_bert(folder)
    write_sentence_transformer(folder, "max_tokens")


def write_gte(folder: Path) -> None:
    """Write a network like gte-multilingual-base, saved with its token classifier."""
    tokenizer = sentence_pieces()
    write_tokenizer(folder, tokenizer, pad_token="<pad>", eos_token="</s>", cls_token="<s>")
    vocabulary = tokenizer.get_vocab_size()
    write_json(
        folder / "config.json",
        {
            "architectures": ["NewForTokenClassification"], "model_type": "new",
            "hidden_act": "gelu", "hidden_size": WIDTH, "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS, "intermediate_size": INNER, "type_vocab_size": 1,
            "max_position_embeddings": 128, "vocab_size": vocabulary, "pad_token_id": 1,
            "layer_norm_type": "layer_norm", "layer_norm_eps": 1e-12, "pack_qkv": True,
            "position_embedding_type": "rope", "rope_theta": 20000.0,
            "rope_scaling": {"factor": 8.0, "type": "ntk"}, "logn_attention_scale": False,
        },
    )  # fmt: skip
    drawing = Drawing(4)
    drawing.matrix("new.embeddings.word_embeddings.weight", vocabulary, WIDTH)
    drawing.matrix("new.embeddings.token_type_embeddings.weight", 1, WIDTH)
    drawing.norm("new.embeddings.LayerNorm", WIDTH)
    for index in range(LAYERS):
        layer = f"new.encoder.layer.{index}"
        drawing.linear(f"{layer}.attention.qkv_proj", 3 * WIDTH, WIDTH)
        drawing.linear(f"{layer}.attention.o_proj", WIDTH, WIDTH)
        drawing.linear(f"{layer}.mlp.up_gate_proj", 2 * INNER, WIDTH, bias=False)
        drawing.linear(f"{layer}.mlp.down_proj", WIDTH, INNER)
        drawing.norm(f"{layer}.attn_ln", WIDTH)
        drawing.norm(f"{layer}.mlp_ln", WIDTH)
    drawing.linear("classifier", 1, WIDTH)
    drawing.tensors["classifier.bias"] += 2  # or no token of these texts would weigh anything
    save(drawing.tensors, folder / "model.safetensors")
    write_sentence_transformer(folder, "cls_token")


def write_modernbert(folder: Path) -> None:
    """Write a ModernBERT network whose local layers see six tokens to each side."""
    tokenizer = byte_pairs("[CLS]", "[SEP]")
    write_tokenizer(folder, tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")
    vocabulary = tokenizer.get_vocab_size()
    write_json(
        folder / "config.json",
        {
            "architectures": ["ModernBertModel"], "model_type": "modernbert",
            "hidden_activation": "gelu", "hidden_size": WIDTH, "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS + 1, "intermediate_size": INNER,
            "max_position_embeddings": 128, "vocab_size": vocabulary,
            "pad_token_id": tokenizer.token_to_id("[PAD]"), "norm_eps": 1e-5, "norm_bias": False,
            "attention_bias": False, "mlp_bias": False, "local_attention": 12,
            "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
            "local_rope_theta": 10000.0,
        },
    )  # fmt: skip
    drawing = Drawing(5)
    drawing.matrix("embeddings.tok_embeddings.weight", vocabulary, WIDTH)
    drawing.norm("embeddings.norm", WIDTH, bias=False)
    for index in range(LAYERS + 1):
        layer = f"layers.{index}"
        if index:
            drawing.norm(f"{layer}.attn_norm", WIDTH, bias=False)
        drawing.linear(f"{layer}.attn.Wqkv", 3 * WIDTH, WIDTH, bias=False)
        drawing.linear(f"{layer}.attn.Wo", WIDTH, WIDTH, bias=False)
        drawing.norm(f"{layer}.mlp_norm", WIDTH, bias=False)
        drawing.linear(f"{layer}.mlp.Wi", 2 * INNER, WIDTH, bias=False)
        drawing.linear(f"{layer}.mlp.Wo", WIDTH, INNER, bias=False)
    drawing.norm("final_norm", WIDTH, bias=False)
    save(drawing.tensors, folder / "model.safetensors")
    write_sentence_transformer(folder, "cls_token")


def write_qwen3(folder: Path, *, shards: int = 2, width: int = WIDTH, inner: int = INNER) -> None:
    """Write a network like Qwen3-Embedding-4B: bf16, in shards, with its prompts."""
    tokenizer = byte_pairs(None, "<|endoftext|>")
    write_tokenizer(folder, tokenizer, pad_token="<|endoftext|>", eos_token="<|endoftext|>")
    vocabulary, head, keys = tokenizer.get_vocab_size(), 16, 2
    write_json(
        folder / "config.json",
        {
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu",
            "hidden_size": width, "num_attention_heads": HEADS, "num_key_value_heads": keys,
            "head_dim": head, "num_hidden_layers": LAYERS, "intermediate_size": inner,
            "max_position_embeddings": 256, "vocab_size": vocabulary, "rms_norm_eps": 1e-6,
            "rope_theta": 1000000, "rope_scaling": None, "use_sliding_window": False,
            "sliding_window": None, "attention_bias": False, "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
        },
    )  # fmt: skip
    drawing = Drawing(6)
    drawing.matrix("embed_tokens.weight", vocabulary, width)
    for index in range(LAYERS):
        layer = f"layers.{index}"
        drawing.norm(f"{layer}.input_layernorm", width, bias=False)
        for part, rows in (("q", HEADS * head), ("k", keys * head), ("v", keys * head)):
            drawing.linear(f"{layer}.self_attn.{part}_proj", rows, width, bias=False)
        drawing.linear(f"{layer}.self_attn.o_proj", width, HEADS * head, bias=False)
        drawing.norm(f"{layer}.self_attn.q_norm", head, bias=False)
        drawing.norm(f"{layer}.self_attn.k_norm", head, bias=False)
        drawing.norm(f"{layer}.post_attention_layernorm", width, bias=False)
        drawing.linear(f"{layer}.mlp.gate_proj", inner, width, bias=False)
        drawing.linear(f"{layer}.mlp.up_proj", inner, width, bias=False)
        drawing.linear(f"{layer}.mlp.down_proj", width, inner, bias=False)
    drawing.norm("norm", width, bias=False)
    _save_shards(drawing.tensors, folder, shards)
    write_sentence_transformer(
        folder, "lasttoken", prompts={"query": QWEN_PROMPT, "document": ""}, max_tokens=200
    )


def _save_shards(tensors: dict[str, Floats], folder: Path, shards: int) -> None:
    if shards == 1:
        save(tensors, folder / "model.safetensors", bf16=True)
        return
    names = list(tensors)
    weight_map = {}
    for shard in range(shards):
        part = names[shard::shards]
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        save({name: tensors[name] for name in part}, folder / file, bf16=True)
        weight_map |= dict.fromkeys(part, file)
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": 0}, "weight_map": weight_map},
    )


WRITERS: dict[str, Callable[[Path], None]] = {
    "bert": write_bert,
    "bert-max": write_bert_max,
    "bge-m3": write_xlm_roberta,
    "gte": write_gte,
    "modernbert": write_modernbert,
    "qwen3": write_qwen3,
}
