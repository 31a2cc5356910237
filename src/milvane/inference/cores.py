"""How many cores this process may really use: its affinity, cut by its control group's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_SYS = Path("/sys/fs/cgroup")


def usable_cores(*, memberships: Path = _PROC, hierarchy: Path = _SYS) -> int:
    """
    Count the cores that the process may use, at least 1.

    A container is often given 2 cores of a large host by quota: the affinity still shows all of
    them, and as many threads would spend most of their time throttled.

    Args:
        memberships: The kernel's list of the control groups of this process.

        hierarchy: Where the control groups are mounted.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        allowed = os.cpu_count() or 1
    quota = _smallest_quota(memberships, hierarchy)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _smallest_quota(memberships: Path, hierarchy: Path) -> float | None:
    """Read the tightest quota, in cores, of all groups that contain the process."""
    quotas = [
        quota
        for group in _groups(memberships, hierarchy)
        for quota in (_quota_v2(group), _quota_v1(group))
        if quota is not None
    ]
    return min(quotas, default=None)


def _groups(memberships: Path, hierarchy: Path) -> list[Path]:
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        lines = []
    # Inside a container the path is often that of the host, and not mounted: then the root of the
    # hierarchy is the process's own group.
    found = [hierarchy, hierarchy / "cpu"]
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = hierarchy / "cpu" if controllers else hierarchy
        group = top / path.lstrip("/")
        found += [group, *(parent for parent in group.parents if top in parent.parents)]
    return found


def _quota_v2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return None if quota <= 0 or period <= 0 else quota / period
