"""OpenVINO, without what it carries to convert models of other frameworks."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_CONVERTER = "openvino.tools.ovc"


def load_openvino() -> Any:
    """
    Import OpenVINO, which has no types of its own.

    Its package tries to import the converter too, half of the time that it takes and a telemetry
    client, and goes on without it.

    Raises:
        ImportError: If it is not installed.
    """
    modules: dict[str, Any] = sys.modules
    if "openvino" not in modules:
        modules.setdefault(_CONVERTER, None)  # what the import system takes for "not there"
    try:
        return importlib.import_module("openvino")
    finally:
        if modules.get(_CONVERTER, modules) is None:
            modules.pop(_CONVERTER, None)
