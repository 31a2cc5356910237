"""How a folder's vectors are made, as its own files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from families import QWEN_PROMPT, write_bert, write_qwen3
from milvane.domain.errors import Conflict
from milvane.domain.models import Purpose
from milvane.inference.encoders.recipe import read_recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a projection and prompts."""
    write_bert(tmp_path)
    return tmp_path


def change(path: Path, alter: Callable[[Any], Any]) -> None:
    """Rewrite a settings file."""
    path.write_text(json.dumps(alter(json.loads(path.read_text()))))


def test_everything_is_read(folder: Path) -> None:
    """Pooling, projection, prompts and length are those of the files."""
    recipe = read_recipe(folder)
    assert (recipe.family, recipe.pooling, recipe.window_tokens) == ("bert", "mean", 64)
    (projection,) = recipe.projections
    assert (projection.folder, projection.activation) == ("2_Dense", "tanh")
    assert recipe.prompt(Purpose.QUERY) == "query: "
    assert recipe.prompt(Purpose.DOCUMENT) == "passage: "


def test_folder_that_says_nothing_is_treated_as_its_family(tmp_path: Path) -> None:
    """Qwen3 takes the last token and its published prompt; BERT the mean and none."""
    for family, pooling, prompt in (
        ("qwen3", "last", QWEN_PROMPT),
        ("bert", "mean", ""),
        ("t5", "mean", ""),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
        recipe = read_recipe(tmp_path)
        assert (recipe.pooling, recipe.prompt(Purpose.QUERY)) == (pooling, prompt)
        assert recipe.prompt(Purpose.DOCUMENT) == ""


def test_instruction_takes_the_place_of_the_prompts_own(tmp_path: Path) -> None:
    """Only prompts that are instructions take one, and only for queries."""
    write_qwen3(tmp_path)
    recipe = read_recipe(tmp_path)
    assert recipe.prompt(Purpose.QUERY, "Find cats\nQuery: dogs") == (
        "Instruct: Find cats\nQuery: dogs\nQuery:"
    )
    assert recipe.prompt(Purpose.DOCUMENT, "Find cats") == ""
    write_bert(tmp_path)
    assert read_recipe(tmp_path).prompt(Purpose.QUERY, "Find cats") == "query: "


def test_default_prompt_is_for_both_sides(folder: Path) -> None:
    """A prompt that is named as the default stands before queries and documents."""
    path = folder / "config_sentence_transformers.json"
    change(path, lambda old: old | {"prompts": {"all": "text: "}, "default_prompt_name": "all"})
    recipe = read_recipe(folder)
    assert {recipe.prompt(purpose) for purpose in Purpose} == {"text: "}


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": ["max"]}, "max"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({}, "mean"),
    ],
)
def test_old_and_new_spellings_of_pooling_are_read(
    folder: Path, config: dict[str, Any], pooling: str
) -> None:
    """Folders of all releases of sentence-transformers say it in their own way."""
    change(folder / "1_Pooling" / "config.json", lambda _: config)
    assert read_recipe(folder).pooling == pooling


def test_every_part_shows_in_the_template(folder: Path) -> None:
    """What decides on vectors decides on the fingerprint."""
    seen = {read_recipe(folder).template}
    change(folder / "1_Pooling" / "config.json", lambda _: {"pooling_mode": "cls"})
    seen.add(read_recipe(folder).template)
    change(folder / "config_sentence_transformers.json", lambda old: old | {"prompts": {}})
    seen.add(read_recipe(folder).template)
    change(folder / "sentence_bert_config.json", lambda old: old | {"do_lower_case": True})
    seen.add(read_recipe(folder).template)
    identity = {"activation_function": "torch.nn.modules.linear.Identity"}
    change(folder / "2_Dense" / "config.json", lambda old: old | identity)
    seen.add(read_recipe(folder).template)
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("name", "alter", "said"),
    [
        ("1_Pooling/config.json", lambda _: {"pooling_mode": "weightedmean"}, "weightedmean"),
        ("1_Pooling/config.json", lambda _: {"pooling_mode": ["cls", "mean"]}, "cls and mean"),
        ("1_Pooling/config.json", lambda old: old | {"include_prompt": False}, "without the prom"),
        ("2_Dense/config.json", lambda _: {"activation_function": "os.system"}, "os.system"),
        ("modules.json", lambda old: [*old, {"type": "x.LSTM", "path": "9"}], "LSTM"),
        ("modules.json", lambda old: old[:1], "no Pooling"),
        ("modules.json", lambda old: [old[0] | {"path": "0_Transformer"}, *old[1:]], "itself"),
        ("modules.json", lambda old: [*old[:2], old[2] | {"path": "../x"}], "outside"),
        ("modules.json", lambda _: {"a": 1}, "cannot be read"),
        ("1_Pooling/config.json", lambda _: [], "no settings"),
    ],
)
def test_what_is_not_known_is_refused(
    folder: Path, name: str, alter: Callable[[Any], Any], said: str
) -> None:
    """A vector that is made in another way than the model's own looks right and is not."""
    change(folder / name, alter)
    with pytest.raises(Conflict, match=said):
        read_recipe(folder)


def test_missing_and_torn_files_are_named(folder: Path) -> None:
    """A folder that was copied in part is not guessed about."""
    (folder / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(Conflict, match=r"config\.json is not JSON"):
        read_recipe(folder)
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(Conflict, match=r"1_Pooling/config\.json cannot be read"):
        read_recipe(folder)
