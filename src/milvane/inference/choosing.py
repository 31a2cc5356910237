"""
Which files of a repository make a set of weights, and what they will take. Pure.

Repositories hold the same network several times (safetensors, PyTorch, ONNX, OpenVINO), code, and
pictures. Only what is read here is fetched, and code never is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from milvane.domain.errors import UpstreamRejected
from milvane.inference.hubs import HubFile

_PLAIN = frozenset(
    {
        "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json",
        "sparse_linear.pt", "sparse_linear.safetensors", "LICENSE", "LICENSE.txt",
    }
)  # fmt: skip
_PICTURES = frozenset({"preprocessor_config.json", "processor_config.json"})
"""Say how images are prepared: a repository with one of them is of a network for images."""
_PLAIN_OF_PICTURES = _PICTURES | {
    "video_preprocessor_config.json", "chat_template.json", "chat_template.jinja", "vocab.json",
    "merges.txt", "spiece.model", "added_tokens.json",
}  # fmt: skip
_M2 = re.compile(r"^m2_encoder_[0-9.]+B\.ckpt$")
_PIECES = re.compile(r"(^|/)sp\.model$")
_MODULE = re.compile(r"^[0-9]+_[A-Za-z]+/(config\.json|model\.safetensors|pytorch_model\.bin)$")
_SHARD = re.compile(r"^model-[0-9]{5}-of-[0-9]{5}\.safetensors$")
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TORCH = "pytorch_model.bin"

MEMORY_FACTOR = 2.3
MEMORY_BYTES = 400_000_000


def choose_files(files: Sequence[HubFile], repository: str) -> tuple[HubFile, ...]:
    """
    Choose what to fetch.

    Args:
        files: All that the repository holds.

        repository: Named in the error.

    Returns:
        Small files first, so that what is wrong shows before the large ones are fetched.

    Raises:
        UpstreamRejected: If the repository holds no network that could be run here.
    """
    by_path = {file.path: file for file in files}
    if any(_M2.match(path) for path in by_path):
        return _choose_m2(files, repository)
    plain = _PLAIN | _PLAIN_OF_PICTURES if _PICTURES & by_path.keys() else _PLAIN
    chosen = [file for path, file in by_path.items() if path in plain or _MODULE.match(path)]
    tensors = _tensors(by_path)
    missing = [name for name in ("config.json", "tokenizer.json") if name not in by_path]
    if "spiece.model" in plain & by_path.keys():
        missing = [name for name in missing if name != "tokenizer.json"]
    if not tensors:
        missing.append(_SINGLE)
    if missing:
        raise UpstreamRejected(
            f"{repository} holds no embedding model that runs here: it has no {', '.join(missing)}"
        )
    return tuple(sorted((*chosen, *tensors), key=lambda file: (file.size_bytes, file.path)))


def takes_images(files: Sequence[HubFile]) -> bool:
    """Say whether chosen files are of a network that takes images."""
    return any(file.path in _PICTURES or _M2.match(file.path) for file in files)


def _choose_m2(files: Sequence[HubFile], repository: str) -> tuple[HubFile, ...]:
    """Choose M2-Encoder's two files, which lie as its trainers wrote them."""
    tensors = [file for file in files if _M2.match(file.path)][:1]
    pieces = sorted(file.path for file in files if _PIECES.search(file.path))
    if not pieces:
        raise UpstreamRejected(f"{repository} holds no tokenizer of M2-Encoder: it has no sp.model")
    tokenizer = [file for file in files if file.path == pieces[0]]
    licences = [file for file in files if file.path in ("LICENSE", "LICENSE.txt")]
    return tuple(sorted((*tensors, *tokenizer, *licences), key=lambda file: file.size_bytes))


def _tensors(by_path: dict[str, HubFile]) -> list[HubFile]:
    if _SINGLE in by_path:
        return [by_path[_SINGLE]]
    shards = [file for path, file in by_path.items() if _SHARD.match(path)]
    if shards and _INDEX in by_path:
        return [by_path[_INDEX], *shards]
    return [by_path[_TORCH]] if _TORCH in by_path else []


def memory_bytes(size_bytes: int) -> int:
    """Estimate what serving a set takes at most, given the size of its files."""
    return int(size_bytes * MEMORY_FACTOR) + MEMORY_BYTES
