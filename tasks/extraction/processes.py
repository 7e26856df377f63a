"""The processes of an extraction: started, watched, and ended with this one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from inference.errors import InferenceError
from storage.errors import StorageError
from tasks.extraction.order import ExtractionOrder
from tasks.extraction.share import Outcome, ShareProgress, do_share
from tasks.settings import Settings

POLL_SECONDS = 0.2


class ExtractionFailed(Exception):
    """The extraction cannot go on; the message says why. What was extracted stays."""


@dataclass(slots=True)
class RunProgress:
    """The progress of all processes together."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)  # of each finished video
    shares: list[ShareProgress] = field(default_factory=list)  # the last report of each process

    def count(self, outcome: Outcome) -> int:
        """Return the number of videos that ended so."""
        return sum(one is outcome for one in self.outcomes.values())

    def add(self, number: int, share: ShareProgress) -> None:
        """Take a report of process ``number``: what a process finds done, another one may have done in this run."""
        self.shares[number] = share
        order = list(Outcome)
        for video, outcome in share.outcomes.items():
            self.outcomes[video] = min(outcome, self.outcomes.get(video, outcome), key=order.index)


def extract_all(order: ExtractionOrder, devices: Sequence[str], settings: Settings) -> Iterator[RunProgress]:
    """Run a process for each device and yield their progress until all have ended.

    A process that dies leaves its videos to the others.

    Raises:
        ExtractionFailed: a process met an error, or every process died before the end.
    """
    progress = RunProgress(shares=[ShareProgress() for _ in devices])
    with _started(order, devices, settings) as running:
        while running:
            connection.wait([pipe for _, pipe in running.values()], POLL_SECONDS)
            for number, (process, pipe) in list(running.items()):
                if not _receive(pipe, number, progress):
                    process.join()
                    del running[number]
            yield progress
    if not any(one.is_complete for one in progress.shares):
        left = len(order.videos) - len(progress.outcomes)
        raise ExtractionFailed(f"every process died, {left} videos are left; the same command goes on with them")


def _receive(pipe: Connection, number: int, progress: RunProgress) -> bool:
    """Take what the process has sent; False when it has ended."""
    try:
        while pipe.poll():
            message = pipe.recv()
            if isinstance(message, str):
                raise ExtractionFailed(message)
            progress.add(number, message)
    except (EOFError, ConnectionResetError):
        return False
    return True


@contextmanager
def _started(
    order: ExtractionOrder, devices: Sequence[str], settings: Settings
) -> Iterator[dict[int, tuple[SpawnProcess, Connection]]]:
    spawning = get_context("spawn")
    running: dict[int, tuple[SpawnProcess, Connection]] = {}
    processes: list[SpawnProcess] = []
    try:
        for number, device in enumerate(devices):
            ours, theirs = spawning.Pipe(duplex=False)
            arguments = (order, (number, len(devices)), device, settings, theirs)
            process = spawning.Process(target=_main, args=arguments, name=f"extraction-{number}")
            process.start()
            theirs.close()  # so that the pipe ends when the process does
            processes.append(process)
            running[number] = process, ours
        yield running
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _main(
    order: ExtractionOrder, place: tuple[int, int], device: str, settings: Settings, pipe: Connection[Any, Any]
) -> None:
    """Run in the process: do the share, and send an error as its text."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
    try:
        do_share(order, place, device, settings, pipe.send)
    except (InferenceError, StorageError) as error:
        with suppress(BrokenPipeError):
            pipe.send(str(error))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
