from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference.cores import usable_cores

ALLOWED = len(os.sched_getaffinity(0))
NESTED = {"pod/cpu.max": "50000 100000", "pod/box/cpu.max": "max 100000"}


def cores_with(tmp_path: Path, membership: str, files: dict[str, str]) -> int:
    """Return the usable cores in a control group that these files describe."""
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (tmp_path / "membership").write_text(membership)
    return usable_cores(cgroups=tmp_path / "cgroup", membership=tmp_path / "membership")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/pod/box\n", {"pod/box/cpu.max": "100000 100000"}, 1),
        ("0::/pod/box\n", NESTED, 1),  # the limit of the group around it
        ("0::/\n", {"cpu.max": "30000 100000"}, 1),  # a container with a namespace of its own
        ("0::/absent/on/this/mount\n", {"cpu.max": "90000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, ALLOWED),
        ("0::/\n", {"cpu.max": f"{ALLOWED * 100000 - 50000} 100000"}, ALLOWED),  # a half counts as a whole
        ("0::/\n", {"cpu.max": "6400000 100000"}, ALLOWED),  # more than the affinity allows
        (
            "4:cpu,cpuacct:/pod\n",
            {"cpu,cpuacct/pod/cpu.cfs_quota_us": "90000", "cpu,cpuacct/pod/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALLOWED),
        ("1:cpuset:/\n", {}, ALLOWED),
        ("", {}, ALLOWED),
    ],
)
def test_the_limits_of_control_groups_bound_the_affinity(
    tmp_path: Path, membership: str, files: dict[str, str], expected: int
) -> None:
    assert cores_with(tmp_path, membership, files) == expected


def test_the_affinity_bounds_the_decoder_processes() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from inference.decode.options import default_processes\n"
        "from inference.cores import usable_cores\n"
        "print(usable_cores(), default_processes('pyav'), default_processes('nvdec'))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["1", "1", "1"]
