"""The default weights, for tests that need the real ones."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from milvane.domain.catalogue import ALL_MINILM_L6_V2, CL100K
from milvane.inference.downloads import pull
from milvane.inference.weights import default_folder


@cache
def default_weights_dir() -> Path:
    """Say where the default weights and vocabulary are; on a new machine, fetch them."""
    folder = default_folder(os.environ, Path.home())
    pull(ALL_MINILM_L6_V2, folder)
    pull(CL100K, folder)
    return folder
