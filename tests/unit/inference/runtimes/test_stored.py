"""Tensors in files, of every kind and in every state."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from families import save, to_bf16, write_json, write_qwen3
from milvane.domain.errors import Conflict
from milvane.inference.runtimes.stored import (
    ARCHIVE,
    INDEX,
    SINGLE,
    Stored,
    read_safetensors,
    read_tensors,
    read_torch_file,
)

REFERENCE = Path(__file__).parents[3] / "reference"
VALUES = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)


def test_bf16_is_widened_exactly(tmp_path: Path) -> None:
    """A 16-bit number becomes the f32 that has its bits above and zeros below."""
    save({"a": VALUES}, tmp_path / SINGLE, bf16=True)
    tensor = read_tensors(tmp_path)["a"]
    assert tensor.kind == "bf16"
    widened = tensor.f32()
    np.testing.assert_array_equal(widened.view(np.uint32) & 0xFFFF, 0)
    np.testing.assert_array_equal(to_bf16(widened), to_bf16(VALUES))
    np.testing.assert_allclose(widened, VALUES, rtol=0.005)
    np.testing.assert_array_equal(tensor.rows(1, 3).f32(), widened[1:3])


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_found(kind: str, odd: float) -> None:
    """In every format, wherever they stand."""
    values = VALUES.copy()
    values[4, 6] = odd
    coded = {"f32": values, "f16": values.astype(np.float16), "bf16": to_bf16(values)}[kind]
    sound = {"f32": VALUES, "f16": VALUES.astype(np.float16), "bf16": to_bf16(VALUES)}[kind]
    assert not Stored(coded, kind).is_finite()
    assert Stored(sound, kind).is_finite()


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    """Tensors in many files are found as if they were in one."""
    write_qwen3(tmp_path / "one", shards=1)
    write_qwen3(tmp_path / "many", shards=3)
    one, many = (read_tensors(tmp_path / name) for name in ("one", "many"))
    assert one.keys() == many.keys()
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor.values, many[name].values)
    (tmp_path / "many" / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(Conflict, match=r"00002-of-00003\.safetensors"):
        read_tensors(tmp_path / "many")


@pytest.mark.parametrize("weight_map", [{"a": "../../secret"}, {"a": 3}, [], None])
def test_odd_index_is_refused(tmp_path: Path, weight_map: Any) -> None:
    """An index cannot name files elsewhere, or be something else."""
    write_json(tmp_path / INDEX, {"weight_map": weight_map})
    with pytest.raises(Conflict, match=INDEX):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [0, 10**9]}, {"data_offsets": [-4, 136]}, {"data_offsets": [8, 4]},
        {"shape": [5, 8]}, {"shape": [-5, -7]}, {"data_offsets": [0, 139]},
    ],
)  # fmt: skip
def test_headers_that_lie_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """A tensor is where its header says, as long as it says, or the file is refused."""
    path = tmp_path / SINGLE
    header = {"a": {"dtype": "F32", "shape": [5, 7], "data_offsets": [0, 140]} | change}
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + VALUES.tobytes())
    with pytest.raises(Conflict, match="pull the weights again"):
        read_safetensors(path)


def test_files_of_pytorch_are_read_without_it() -> None:
    """What torch.save wrote is read, in its shapes."""
    tensors = read_torch_file(REFERENCE / "sparse_linear.pt")
    assert {name: each.shape for name, each in tensors.items()} == {"weight": (1, 48), "bias": (1,)}
    assert all(each.is_finite() for each in tensors.values())


class Evil:
    """Pickles into a call of a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never be printed",))


@pytest.mark.parametrize("content", [Evil(), {"weight": Evil()}, ["no", "names"]])
def test_code_in_a_file_is_not_run(
    tmp_path: Path, content: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pickle that asks for any function but those that make tensors is refused unread."""
    path = tmp_path / ARCHIVE
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content))
    with pytest.raises(Conflict, match="pull the weights again"):
        read_tensors(tmp_path)
    assert capsys.readouterr().out == ""


def test_cut_file_of_pytorch_is_refused(tmp_path: Path) -> None:
    """A storage that is shorter than its tensor is noticed."""
    whole = REFERENCE / "sparse_linear.pt"
    shutil.copy(whole, tmp_path / ARCHIVE)
    path = tmp_path / ARCHIVE
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(Conflict, match="pull the weights again"):
        read_tensors(tmp_path)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as cut:
        for name in source.namelist():
            content = source.read(name)
            cut.writestr(name, content[:-8] if "/data/" in name else content)
    with pytest.raises(Conflict, match="pull the weights again"):
        read_tensors(tmp_path)
