"""
Compute what each family's own implementation makes of the tiny checkpoints of `tests/families.py`.

Run once, by hand, where torch 2.13, transformers 5.23 and sentence-transformers 6.2 are installed:

    PYTHONPATH=tests:src python tests/reference/make_families.py

Writes ``families.npz`` (vectors of length 1 for documents and queries, weights of tokens for the
families with a sparse head) and ``sparse_linear.pt``, a file in PyTorch's own format.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForTokenClassification, AutoTokenizer

from families import INSTRUCTION, QUERIES, TEXTS, WRITERS

HERE = Path(__file__).parent


def main() -> None:
    """Run every family."""
    torch.set_grad_enabled(False)
    arrays: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, write in WRITERS.items():
            folder = Path(scratch) / name
            write(folder)
            arrays |= {f"{name}/{key}": each for key, each in run(name, folder).items()}
        write_torch_file(Path(scratch) / "bge-m3")
    np.savez_compressed(HERE / "families.npz", **arrays)


def run(name: str, folder: Path) -> dict[str, np.ndarray]:
    """Embed the texts with the family's own implementation."""
    if name == "gte":
        return run_gte(folder)
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    # `encode_document` would leave out a prompt that is called "passage".
    prompt = model.prompts.get("document") or model.prompts.get("passage") or ""
    found = {
        "documents": model.encode(list(TEXTS), prompt=prompt, normalize_embeddings=True),
        "queries": model.encode_query(list(QUERIES), normalize_embeddings=True),
    }
    if name == "qwen3":
        told = f"Instruct: {INSTRUCTION}\nQuery:"
        found["told"] = model.encode(list(QUERIES), prompt=told, normalize_embeddings=True)
    if name == "bge-m3":
        found |= weigh_bge(model, folder)
    return found


def weigh_bge(model: SentenceTransformer, folder: Path) -> dict[str, np.ndarray]:
    """Weigh tokens as FlagEmbedding does: a linear layer over the states, negative ones at 0."""
    from safetensors.torch import load_file

    head = load_file(folder / "sparse_linear.safetensors")
    weights = {}
    for index, text in enumerate(TEXTS):
        features = model.tokenize([text])
        states = model[0].model(**features).last_hidden_state
        found = torch.relu(states @ head["weight"].T + head["bias"])[0, :, 0]
        weights[f"tokens{index}"] = features["input_ids"][0].numpy()
        weights[f"weights{index}"] = found.numpy()
    return weights


def run_gte(folder: Path) -> dict[str, np.ndarray]:
    """
    Run transformers' own implementation of the family, which the hub's files call `new`.

    Its rotary positions know nothing of the stretched ones of the hub's code, so their frequencies
    are put in place of its own, by equation 6 of kexue.fm/archives/9706.
    """
    native = folder.parent / "gte-native"
    shutil.copytree(folder, native)
    config = json.loads((native / "config.json").read_text())
    theta, factor = config.pop("rope_theta"), config.pop("rope_scaling")["factor"]
    config |= {"model_type": "gte", "num_labels": 1}
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": theta * factor}
    config["architectures"] = ["GteForTokenClassification"]
    (native / "config.json").write_text(json.dumps(config))
    model = AutoModelForTokenClassification.from_pretrained(native, dtype=torch.float32).eval()
    rotary = model.gte.rotary_emb
    width = config["hidden_size"] // config["num_attention_heads"]
    rotary.inv_freq = rotary.inv_freq / factor ** (2 / width)
    tokenizer = AutoTokenizer.from_pretrained(native)
    found: dict[str, np.ndarray] = {}
    rows = []
    for index, text in enumerate(TEXTS):
        features = tokenizer([text], return_tensors="pt", truncation=True, max_length=64)
        features.pop("token_type_ids", None)
        output = model(**features, output_hidden_states=True)
        first = output.hidden_states[-1][0, 0]
        rows.append((first / first.norm()).numpy())
        found[f"tokens{index}"] = features["input_ids"][0].numpy()
        found[f"weights{index}"] = torch.relu(output.logits)[0, :, 0].numpy()
    found["documents"] = np.stack(rows)
    found["queries"] = found["documents"][: len(QUERIES)]
    return found


def write_torch_file(folder: Path) -> None:
    """Write the sparse head as its publishers do."""
    from safetensors.torch import load_file

    torch.save(load_file(folder / "sparse_linear.safetensors"), HERE / "sparse_linear.pt")


if __name__ == "__main__":
    main()
