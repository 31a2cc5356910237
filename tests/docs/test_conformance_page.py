"""The account of what heavy clients did."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_page_tells_of_every_client_and_of_no_failure() -> None:
    """What is tried is on the page, and it passed or is said to be left out."""
    page = (ROOT / "docs" / "conformance.md").read_text()
    rows = re.findall(r"^\| (\S.*?) \| \S* \| .* \| (passed|left out) \|$", page, re.MULTILINE)
    modules = sorted((ROOT / "tests" / "heavy").rglob("test_*.py"))
    sources = "".join(each.read_text() for each in modules)
    tried = set(re.findall(r'^CLIENT = "(.*)"$', sources, re.MULTILINE))
    assert {client for client, _ in rows} == tried
    assert "**failed**" not in page
