"""Cores that this process may use: its CPU affinity, and the CPU limit of its control group (a container's limit)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores(*, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the number of usable cores, at least 1. A limit of 2.5 cores counts as 3."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *(math.ceil(limit) for limit in _limits(cgroups, membership))]))


def _limits(cgroups: Path, membership: Path) -> Iterator[float]:
    """Yield the CPU limits, in cores, of the control group and of every group around it (cgroup v2 and v1).

    Inside a container, the listed path may not exist below ``cgroups``: the container's own limit is then at the top.
    """
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for group in _with_parents(cgroups, path):
                yield from _ratio(_text(group / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for mount in {controllers, "cpu"}:
                for group in _with_parents(cgroups / mount, path):
                    yield from _ratio([_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")])


def _with_parents(root: Path, path: str) -> list[Path]:
    group = Path(path.strip("/"))
    return [root / part for part in (group, *group.parents) if ".." not in part.parts]


def _ratio(quota_and_period: list[str]) -> Iterator[float]:
    match quota_and_period:
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):  # "max" and -1: no limit
            yield int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
