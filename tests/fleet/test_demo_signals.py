"""A demo that is stopped or killed ends its fleet."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.processes import REPOSITORY, wait_until


@pytest.mark.parametrize(
    ("name", "after", "number", "status"),
    [
        ("demo_cloud", "run ", signal.SIGTERM, 130),
        ("demo", "node ", signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_no_process_is_left_behind(tmp_path: Path, name: str, after: str, number: signal.Signals, status: int) -> None:
    root = tmp_path / "world"
    command = [sys.executable, REPOSITORY / "deploy" / f"{name}.py", root]
    script = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command],  # as a shell starts a background job
        env={"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert script.stdout is not None
    said = next(line for line in script.stdout if line.startswith(after))
    script.send_signal(number)
    said += script.communicate(timeout=120)[0]  # the fleet holds the pipe until it has ended
    assert script.returncode == status, said
    if number == signal.SIGTERM:
        assert "stopped watching; run" in said
    wait_until(lambda: not living_in(root), "every process has ended", story=lambda: str(living_in(root)))


def living_in(root: Path) -> list[bytes]:
    """Return the command lines of processes whose environment names the directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(root).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes())
        except OSError:  # it ended meanwhile
            continue
    return found
