"""``tamis profile --on gpu.NODE``: the profile as a task of the fleet; its files come back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from rich.console import Console

from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.usage import OneLine, settings
from tasks.queues import TaskName, is_gpu_queue
from tasks.resources.profile_files import ProfileFiles, take_files
from tasks.resources.redis import ledger_client

if TYPE_CHECKING:  # this module is loaded where torch must not be
    from inference.profiling.options import ProfileOptions

POLL_SECONDS = 0.5


def fetch_profile(options: ProfileOptions, queue: str, directory: Path, console: Console) -> None:
    """Send the task, wait for its files, write them and print the verdict."""
    check_name(queue)
    check_queue(queue, consumed_queues())
    request_id = send(options, queue)
    client = ledger_client(settings())
    limit_seconds = settings().delivery.task_deadline_seconds
    with console.status(f"profiling {options.model_name} on {queue}"):
        answer = wait_for(lambda: take_files(client, request_id), limit_seconds)
    if answer is None:
        raise OneLine(f"{queue} has not answered within {limit_seconds:.0f} s: `tamis inspect active` shows its work")
    if answer.error is not None:
        raise OneLine(f"{queue}: {answer.error}")
    write_files(answer, directory, console)


def check_name(queue: str) -> None:
    """Refuse a queue of other workers: they have no models' libraries."""
    if not is_gpu_queue(queue):
        raise OneLine(f"--on {queue}: give the queue of a node's GPU workers, as in gpu.node1")


def check_queue(queue: str, consumed: set[str]) -> None:
    """Refuse a queue that no worker consumes; a task in it would wait for ever."""
    if queue not in consumed:
        known = ", ".join(sorted(name for name in consumed if is_gpu_queue(name))) or "none"
        raise OneLine(f"--on {queue}: no worker consumes it; GPU queues with workers: {known}")


def consumed_queues() -> set[str]:
    """Names of the queues that workers consume now."""
    from tasks.celery import app

    answers = app.control.inspect(timeout=2.0).active_queues() or {}
    return {queue["name"] for queues in answers.values() for queue in queues}


def send(options: ProfileOptions, queue: str) -> str:
    """Send the task; return the request's id."""
    from tasks.celery import app

    request_id = uuid4().hex
    values = json.loads(json.dumps(asdict(options)))
    app.send_task(TaskName.PROFILE, (request_id, values), queue=queue, retry_policy={"max_retries": 3})
    return request_id


def wait_for(take: Callable[[], ProfileFiles | None], seconds: float) -> ProfileFiles | None:
    """Ask until there is an answer, or None after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (answer := take()) is not None:
            return answer
        time.sleep(POLL_SECONDS)
    return None


def write_files(answer: ProfileFiles, directory: Path, console: Console) -> None:
    """Write the files, and print the verdict of the summary among them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in answer.files.items():
        (directory / Path(name).name).write_bytes(content)
    summary = next(content for name, content in answer.files.items() if name.endswith("_summary.json"))
    told = json.loads(summary)
    lines = [
        f"throughput: {told['summary']['samples_per_second']:.2f} samples/s on {told['machine']['device']}",
        f"verdict: {told['verdict']['bound']}",
        *(f"  {line}" for line in told["verdict"]["evidence"]),
        f"written to {directory}: {', '.join(answer.files)}",
    ]
    for line in lines:
        print_line(console, line)
