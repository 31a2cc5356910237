"""
How a folder's vectors are made: pooling, prompts, length, projections.

Read from what sentence-transformers writes beside a network (``modules.json`` and the folders that
it names); a folder without that is treated as its family usually is. What is not known is refused:
a vector made in another way than the model was trained for looks right and is not.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from milvane.domain.errors import Conflict
from milvane.domain.models import Purpose
from milvane.inference.encoders.families import FAMILY_DEFAULTS, OTHER_FAMILY, FamilyDefaults

_POOLINGS = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
_OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "identity",
}
_PROMPT_NAMES = {
    Purpose.QUERY: ("query",),
    Purpose.DOCUMENT: ("document", "passage", "corpus", "text"),
}
_INSTRUCTED = re.compile(r"^(Instruct: ).*(\nQuery: ?)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ProjectionFolder:
    """A layer over the pooled vector: where its tensors lie, and its activation."""

    folder: str
    activation: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about a folder's vectors that its tensors do not say."""

    family: str
    pooling: str
    """``mean``, ``cls``, ``last`` or ``max``."""
    projections: tuple[ProjectionFolder, ...] = ()
    prompts: dict[Purpose, str] = field(default_factory=dict)
    """Put before a text, by its purpose; none where a purpose has none."""
    window_tokens: int | None = None
    """What the model was made for; all that the network has positions for if none."""
    lower_case: bool = False

    @property
    def defaults(self) -> FamilyDefaults:
        """What is known of the family."""
        return FAMILY_DEFAULTS.get(self.family, OTHER_FAMILY)

    def prompt(self, purpose: Purpose, instruction: str | None = None) -> str:
        """
        Say what goes before a text.

        Args:
            purpose: Which side of a comparison the text is on.

            instruction: What the comparison is for, in the caller's words; models whose query
                prompt is an instruction take it instead of their own, others ignore it.
        """
        prompt = self.prompts.get(purpose, "")
        frame = _INSTRUCTED.match(prompt)
        if instruction is None or frame is None:
            return prompt
        return f"{frame[1]}{instruction}{frame[2]}"

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes what goes before a text."""
        return _INSTRUCTED.match(self.prompts.get(purpose, "")) is not None

    @property
    def template(self) -> str:
        """Spell everything that decides on a vector beside the tensors, for a fingerprint."""
        parts = [self.family, self.pooling, str(self.lower_case)]
        parts += [f"{each.folder}:{each.activation}" for each in self.projections]
        parts += [f"{purpose.value}={self.prompts.get(purpose, '')!r}" for purpose in Purpose]
        return "|".join(parts)


def read_recipe(folder: Path) -> Recipe:
    """
    Read how a folder's vectors are made.

    Raises:
        Conflict: If a file cannot be read, or asks for something that is not known here.
    """
    family = str(_read(folder / "config.json").get("model_type", ""))
    defaults = FAMILY_DEFAULTS.get(family, OTHER_FAMILY)
    if not (folder / "modules.json").is_file():
        prompts = {Purpose.QUERY: defaults.query_prompt} if defaults.query_prompt else {}
        return Recipe(family, defaults.pooling, prompts=prompts)
    pooling, projections = None, []
    for kind, path in _modules(folder):
        if kind == "Pooling":
            pooling = _pooling(folder / path / "config.json")
        elif kind == "Dense":
            projections.append(_projection(folder, path))
        elif kind == "Transformer" and path:
            raise Conflict(f"{folder / 'modules.json'}: the network must lie in the folder itself")
        elif kind not in ("Transformer", "Normalize"):
            raise Conflict(f"{folder / 'modules.json'}: a module {kind} is not known here")
    if pooling is None:
        raise Conflict(f"{folder / 'modules.json'} has no Pooling module")
    length = _optional(folder / "sentence_bert_config.json")
    return Recipe(
        family=family,
        pooling=pooling,
        projections=tuple(projections),
        prompts=_prompts(folder),
        window_tokens=length.get("max_seq_length"),
        lower_case=bool(length.get("do_lower_case", False)),
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    path = folder / "modules.json"
    try:
        listed = json.loads(path.read_bytes())
        found = [(str(each["type"]).rsplit(".", 1)[-1], str(each["path"])) for each in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Conflict(f"{path} cannot be read: {error}") from error
    if any(".." in Path(inner).parts or Path(inner).is_absolute() for _, inner in found):
        raise Conflict(f"{path} names a folder outside")
    return found


def _pooling(path: Path) -> str:
    config = _read(path)
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        modes = [mode] if isinstance(mode, str) else list(mode)
    else:
        modes = [mode for key, mode in _OLD_POOLINGS.items() if config.get(key)] or ["mean"]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        known = ", ".join(_POOLINGS)
        raise Conflict(f"{path}: pooling {' and '.join(modes)} is not known here, only {known}")
    if not config.get("include_prompt", True):
        raise Conflict(f"{path}: pooling without the prompt is not known here")
    return _POOLINGS[modes[0]]


def _projection(folder: Path, path: str) -> ProjectionFolder:
    config = _read(folder / path / "config.json")
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation not in _ACTIVATIONS:
        raise Conflict(f"{folder / path / 'config.json'}: {activation} is not known here")
    return ProjectionFolder(path, _ACTIVATIONS[activation])


def _prompts(folder: Path) -> dict[Purpose, str]:
    config = _optional(folder / "config_sentence_transformers.json")
    named: dict[str, str] = config.get("prompts") or {}
    usual = named.get(config.get("default_prompt_name") or "", "")
    prompts = {}
    for purpose, names in _PROMPT_NAMES.items():
        prompt = next((named[name] for name in names if named.get(name)), usual)
        if prompt:
            prompts[purpose] = prompt
    return prompts


def _optional(path: Path) -> dict[str, Any]:
    return _read(path) if path.is_file() else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise Conflict(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Conflict(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Conflict(f"{path} holds no settings")
    return content
