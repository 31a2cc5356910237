"""The engine as a whole, with a tiny network."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from checkpoints import install_tiny_bert, write_tiny_bert
from milvane.domain.catalogue import Weights
from milvane.domain.errors import Conflict, NotFound, Overloaded, UpstreamUnavailable
from milvane.domain.models import Lane, Purpose
from milvane.inference.engine import open_engine
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import folder_of

SETTINGS = InferenceSettings(precision="f32", threads=1, max_pass_tokens=64)


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """A tiny network in place."""
    return install_tiny_bert(tmp_path)


async def test_facts_tell_what_runs(weights: Weights, tmp_path: Path) -> None:
    """The engine says what it runs, and the same again after a restart."""
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        facts = engine.facts
    assert (facts.weights, facts.version) == ("tiny-bert", "1")
    assert (facts.precision, facts.threads, facts.width) == ("f32", 1, 32)
    assert facts.runtime.startswith("OpenVINO")
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        assert engine.facts == facts


async def test_fingerprint_changes_with_the_weights(weights: Weights, tmp_path: Path) -> None:
    """Other numbers in the network give another fingerprint."""
    other_dir = tmp_path / "other"
    other = install_tiny_bert(other_dir, seed=1)
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        fingerprint = engine.facts.fingerprint
    async with open_engine(other, other_dir, SETTINGS) as engine:
        assert engine.facts.fingerprint != fingerprint


async def test_long_text_is_the_mean_of_its_windows(weights: Weights, tmp_path: Path) -> None:
    """Two windows of equal length make the mean of what each gives alone."""
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        (whole,) = await engine.tokenize(
            ["the cat sat on the mat the dog " * 2], purpose=Purpose.DOCUMENT
        )
        ids = [whole[:8], whole[8:], np.concatenate([whole[:8], whole[8:]])]
        first, second, both = await engine.embed(ids, dimension=32, lane=Lane.BULK)
        assert engine.counts.inputs == 4
    mean = (first + second) / np.linalg.norm(first + second)
    np.testing.assert_allclose(both, mean, atol=1e-5)


async def test_overload_reaches_the_caller(weights: Weights, tmp_path: Path) -> None:
    """What the queue refuses, the engine refuses; the rest is served."""
    settings = SETTINGS.model_copy(update={"max_pending_inputs": 1})
    async with open_engine(weights, tmp_path, settings) as engine:
        ids = await engine.tokenize(["the cat sat on the mat"] * 40, purpose=Purpose.DOCUMENT)
        requests = [engine.embed(ids, dimension=8, lane=Lane.BULK) for _ in range(8)]
        results = await asyncio.gather(*requests, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Overloaded)]
    assert len(refused) == 7
    assert sum(isinstance(result, np.ndarray) for result in results) == 1


async def test_closed_engine_refuses(weights: Weights, tmp_path: Path) -> None:
    """After the block is left, requests fail with a kind that clients may retry."""
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        ids = await engine.tokenize(["the cat"], purpose=Purpose.DOCUMENT)
    with pytest.raises(UpstreamUnavailable):
        await engine.embed(ids, dimension=8, lane=Lane.BULK)


async def test_missing_weights_name_the_cure(weights: Weights, tmp_path: Path) -> None:
    """Who starts without weights is told how to get them."""
    with pytest.raises(NotFound, match="milvane models pull tiny-bert"):
        async with open_engine(weights, tmp_path / "elsewhere", SETTINGS):
            pass


async def test_wrong_weights_are_refused(weights: Weights, tmp_path: Path) -> None:
    """Files of another set, another family or another width are not served."""
    for wrong in (
        replace(weights, family="qwen"),
        replace(weights, width=33),
        replace(weights, window_tokens=30),
    ):
        with pytest.raises(Conflict):
            async with open_engine(wrong, tmp_path, SETTINGS):
                pass
    write_tiny_bert(folder_of(weights, tmp_path), seed=1)
    with pytest.raises(Conflict, match="not what the catalogue says"):
        async with open_engine(weights, tmp_path, SETTINGS):
            pass


def test_tensor_libraries_are_loaded_late() -> None:
    """Importing the engine is cheap: neither tensor library nor tokenizer comes with it."""
    code = (
        "import sys, milvane.inference.engine, milvane.inference.downloads\n"
        "heavy = {'openvino', 'tokenizers', 'safetensors', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
