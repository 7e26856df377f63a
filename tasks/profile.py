"""``tasks.profile``: profile a model on a GPU worker's machine, in a process of its own, and send its files back."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from inference.errors import ProfilingError
from tasks.celery import app
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.profile_files import MOST_BYTES, ProfileFiles, put_files
from tasks.resources.redis import ledger_client

SPARE_SECONDS = 30.0  # before the deadline of a task, at which its worker would be ended


@app.task(name=TaskName.PROFILE.value)
def profile(request_id: str, options: dict[str, Any]) -> str:
    """Run the profile and store its files, or the reason why there are none. Returns one of ``ok`` and ``failed``.

    It runs beside the worker's videos. If the worker dies it is done again, and the later answer replaces the earlier.
    """
    settings = runtime.current().settings
    seconds = settings.delivery.task_deadline_seconds - SPARE_SECONDS
    with tempfile.TemporaryDirectory(prefix="tamis-profile-") as directory:
        answer = run_child(options, Path(directory), seconds)
    put_files(ledger_client(settings), request_id, answer)
    return "ok" if answer.error is None else "failed"


def run_child(options: dict[str, Any], directory: Path, seconds: float) -> ProfileFiles:
    """Run one profile to its end, or kill it after ``seconds``."""
    from inference.profiling.child import failure, options_of, start_child

    try:
        child = start_child(options_of(options), directory)
    except ProfilingError as error:
        return ProfileFiles({}, str(error))
    try:
        _, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return ProfileFiles({}, f"the profile took longer than {seconds:.0f} s: give fewer --max-steps")
    if child.returncode:
        return ProfileFiles({}, failure(child.returncode, errors))
    return collect(directory)


def collect(directory: Path) -> ProfileFiles:
    """Return a profile's files, or the reason why they cannot travel."""
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    total_bytes = sum(path.stat().st_size for path in paths)
    if total_bytes > MOST_BYTES:
        return ProfileFiles({}, f"the files have {total_bytes} bytes, over {MOST_BYTES}: give fewer --trace-steps")
    return ProfileFiles({path.name: path.read_bytes() for path in paths})
