"""
Tests of what needs PyTorch: skipped without it, run by hand where it is.

    pip install torch==2.13.0 "transformers>=4.53" && scripts/test tests/device
"""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
