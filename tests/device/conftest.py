"""
Tests of what needs PyTorch: `scripts/test` runs them in .venv-torch, where that could be made.

Where PyTorch is not found they are left out, so that the rest of the tests can be run without it.
"""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
