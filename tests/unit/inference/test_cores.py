"""How many cores are ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from milvane.inference.cores import usable_cores


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def cores(root: Path) -> int:
    """Count the cores under faked control groups."""
    return usable_cores(memberships=root / "membership", hierarchy=root / "groups")


def available() -> int:
    """Count the cores without control groups."""
    return len(os.sched_getaffinity(0))


def test_no_group_leaves_the_affinity(tmp_path: Path) -> None:
    """Without control groups, every core that the scheduler gives counts."""
    assert cores(tmp_path) == available()


@pytest.mark.parametrize(
    ("quota", "expected"), [("50000 100000", 1), ("100000 100000", 1), ("99900000 100000", None)]
)
@pytest.mark.parametrize("place", ["groups", "groups/slice", "groups/slice/app"])
def test_quota_of_any_group_above_counts(
    tmp_path: Path, quota: str, expected: int | None, place: str
) -> None:
    """The tightest quota on the way to the root limits the cores; half a core is one."""
    write(tmp_path / "membership", "0::/slice/app\n")
    write(tmp_path / place / "cpu.max", quota)
    assert cores(tmp_path) == (expected or available())


def test_old_hierarchy_counts(tmp_path: Path) -> None:
    """Quotas in the form of the first version are read as well."""
    write(tmp_path / "membership", "5:memory:/x\n4:cpu,cpuacct:/app\n0::/\n")
    write(tmp_path / "groups/cpu/app/cpu.cfs_quota_us", "100000")
    write(tmp_path / "groups/cpu/app/cpu.cfs_period_us", "100000")
    assert cores(tmp_path) == 1


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense", "0 0 0"])
def test_unlimited_or_odd_groups_limit_nothing(tmp_path: Path, text: str) -> None:
    """What says no number sets no limit."""
    write(tmp_path / "membership", "0::/\nodd line\n")
    write(tmp_path / "groups/cpu.max", text)
    write(tmp_path / "groups/cpu/cpu.cfs_quota_us", "-1")
    write(tmp_path / "groups/cpu/cpu.cfs_period_us", "100000")
    assert cores(tmp_path) == available()
