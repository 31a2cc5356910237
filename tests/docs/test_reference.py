"""The generated pages, and the links and lists of the written ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_generated_pages_are_fresh() -> None:
    """Settings, commands, RPCs and errors are described as they are."""
    run = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_is_short() -> None:
    """A newcomer reads it to the end."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


def test_architecture_lists_the_layers_that_are_enforced() -> None:
    """The page and the import contract name the same layers in the same order."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    written = [
        {name.strip(" `") for name in line.split("|")}
        for line in re.findall(r"^\d+\. (`.*)$", page, re.MULTILINE)
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = (
        contract
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    enforced = [
        {name.strip().removeprefix("milvane.") for name in layer.split("|")}
        for layer in contract["layers"]
    ]
    assert written == enforced


def test_tree_names_no_registry_and_no_machine() -> None:
    """Pins carry versions and hashes; where packages come from is the user's own setting."""
    for path in ROOT.glob("requirements/*"):
        text = path.read_text()
        assert "://" not in text
        assert "--index-url" not in text
