"""``tasks.profile``: profile a model on a GPU worker's machine, in a process of its own, and send its files back."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.errors import ProfilingError
from tasks.celery import app
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.profile_files import MOST_BYTES, ProfileFiles, put_files
from tasks.resources.redis import ledger_client
from tasks.settings import Settings

if TYPE_CHECKING:  # this module is loaded where torch must not be
    from inference.profiling.options import ProfileOptions

SPARE_SECONDS = 30.0  # before the deadline of a task, at which its worker would be ended


@app.task(name=TaskName.PROFILE.value)
def profile(request_id: str, options: dict[str, Any]) -> str:
    """Run the profile and store its files, or the reason why there are none. Returns one of ``ok`` and ``failed``.

    It runs beside the worker's videos. If the worker dies it is done again, and the later answer replaces the earlier.
    """
    settings = runtime.current().settings
    seconds = settings.delivery.task_deadline_seconds - SPARE_SECONDS
    with tempfile.TemporaryDirectory(prefix="tamis-profile-") as directory:
        answer = answer_of(options, settings, Path(directory), seconds)
    put_files(ledger_client(settings), request_id, answer)
    return "ok" if answer.error is None else "failed"


def answer_of(values: Mapping[str, Any], settings: Settings, directory: Path, seconds: float) -> ProfileFiles:
    """Check a request and run its profile."""
    from inference.profiling.child import options_of

    try:
        options = allowed(options_of(values), settings)
    except ProfilingError as error:
        return ProfileFiles({}, str(error))
    return run_child(options, directory, seconds)


def allowed(options: ProfileOptions, settings: Settings) -> ProfileOptions:
    """The options with this worker's manifest, if a message may ask for them: no more than a row could have read.

    Raises:
        ProfilingError: the input is no file below a mounted tier, or the model would be loaded from somewhere.
    """
    roots = [settings.tiers.cpfs_root, settings.tiers.alluxio_root, settings.tiers.object_root]
    mounted = [root.resolve() for root in roots if root is not None]
    source = Path(options.input_path).resolve()
    if not any(source.is_relative_to(root) for root in mounted):
        places = (
            ", ".join(map(str, mounted)) or "none is mounted: TAMIS_CPFS_ROOT, TAMIS_ALLUXIO_ROOT, TAMIS_OBJECT_ROOT"
        )
        raise ProfilingError(
            f"--on reads files of the worker's tiers alone, not {options.input_path!r}; tiers: {places}"
        )
    if options.weights != "none" or "/" in options.model_name or Path(options.model_name).exists():
        raise ProfilingError(
            "--on loads no weights: give a name of torchvision, a type or a filter, and --weights none"
        )
    return replace(options, manifest=settings.models.manifest)


def run_child(options: ProfileOptions, directory: Path, seconds: float) -> ProfileFiles:
    """Run one profile to its end, or kill it after ``seconds``."""
    from inference.profiling.child import failure, start_child

    child = start_child(options, directory)
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
