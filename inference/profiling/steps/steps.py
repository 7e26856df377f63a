"""The measured loop: read, transfer, prepare and execute one batch, and note when each began and ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from inference.profiling.frames.sources import FrameReader, StepFrames
from inference.profiling.steps.execution import Execute, Executed, Synchronize
from inference.profiling.steps.preparation import Prepare, to_tensors

Span = Callable[[str], AbstractContextManager[object]]


def no_span(_name: str) -> AbstractContextManager[object]:
    """Trace nothing."""
    return nullcontext()


class StepPhase(StrEnum):
    """Which figures a step belongs to."""

    FIRST = "first"  # the first step with its input shape: compilation, kernel search, allocation
    WARMUP = "warm-up"
    STEADY = "steady"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedStep:
    """One step. ``total_ms`` is its own measurement, not a sum: what the parts leave is the cost of measuring."""

    index: int
    repeat: int
    phase: StepPhase
    size: int  # pixels of a side of the prepared frames
    started_seconds: float  # since the first step began
    read_ms: float  # without the wait
    prep_ms: float
    transfer_ms: float  # between CPU and GPU, both ways
    exec_ms: float  # without a split model's transfer
    wait_ms: float  # for frames that had not arrived
    gap_ms: float  # before the step: recording and progress of the one before it
    total_ms: float
    launch_ms: float  # of exec: until the model's call returned; the rest is the device's own time
    first_part_ms: float  # of exec: on the CPU, with a split point
    preempted_ms: float  # of the step: this thread could have run, but its core was taken
    queue_age_ms: float
    lost_frames: int
    reserved_bytes: int  # taken by the GPU's allocator; 0 on a CPU
    loss: float | None

    @property
    def parts_ms(self) -> float:
        """The sum of the parts."""
        return self.read_ms + self.prep_ms + self.transfer_ms + self.exec_ms + self.wait_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The opened parts of a step."""

    reader: FrameReader
    prepare: Mapping[int, Prepare]  # by size; sizes are taken by turns
    execute: Execute
    frames_per_step: int
    device: torch.device
    prep_device: torch.device
    synchronize: Synchronize
    span: Span = no_span


class RunDelay:
    """Seconds that the thread which made this was ready to run without a core (Linux: ``schedstat``, 2nd field)."""

    def __init__(self) -> None:
        self._file: int | None = None
        with suppress(OSError):  # a kernel without CONFIG_SCHED_INFO has no such file: preemption stays unknown
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def seconds(self) -> float:
        """The delay since the thread began; 0 where the kernel does not say."""
        return int(os.pread(self._file, 64, 0).split()[1]) / 1e9 if self._file is not None else 0.0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)


def run_steps(work: Work, warmup_steps: int, max_steps: int, repeats: int = 1) -> Iterator[TimedStep]:
    """Yield each step as it ends. The time until the caller asks for the next one is a gap, and in no step.

    Raises:
        ProfilingError: no more frames come.
    """
    delay, sizes, seen = RunDelay(), list(work.prepare), set[int]()
    begun = ended = time.perf_counter()
    try:
        for index in range(warmup_steps + max_steps * repeats):
            size = sizes[index % len(sizes)]
            phase = (
                StepPhase.FIRST if size not in seen else StepPhase.WARMUP if index < warmup_steps else StepPhase.STEADY
            )
            seen.add(size)
            repeat = max(0, index - warmup_steps) // max_steps
            step = _step(work, delay, begun, ended, index=index, repeat=repeat, phase=phase, size=size)
            ended = begun + step.started_seconds + step.total_ms / 1e3
            yield step
    finally:
        delay.close()


@dataclass(frozen=True, slots=True)
class _Marks:
    """Readings of the clock in one step, in seconds."""

    started: float
    was_read: float
    was_uploaded: float
    was_prepared: float
    was_transferred: float
    was_launched: float
    was_executed: float
    ended: float


def _step(
    work: Work, delay: RunDelay, begun: float, before: float, *, index: int, repeat: int, phase: StepPhase, size: int
) -> TimedStep:
    """Run one step. ``before`` is when the one before it ended."""
    delayed = delay.seconds()
    at, reading, executed = _timed(work, size)
    transfer = at.was_uploaded - at.was_read + at.was_transferred - at.was_prepared + executed.transfer_seconds
    return TimedStep(
        index=index,
        repeat=repeat,
        phase=phase,
        size=size,
        started_seconds=at.started - begun,
        read_ms=1e3 * (at.was_read - at.started - reading.wait_seconds),
        prep_ms=1e3 * (at.was_prepared - at.was_uploaded),
        transfer_ms=1e3 * transfer,
        exec_ms=1e3 * (at.was_executed - at.was_transferred - executed.transfer_seconds),
        wait_ms=1e3 * reading.wait_seconds,
        gap_ms=1e3 * (at.started - before),
        total_ms=1e3 * (at.ended - at.started),
        launch_ms=1e3 * (at.was_launched - at.was_transferred),
        first_part_ms=1e3 * executed.first_part_seconds,
        preempted_ms=1e3 * (delay.seconds() - delayed),
        queue_age_ms=1e3 * reading.age_seconds,
        lost_frames=reading.lost_frames,
        reserved_bytes=torch.cuda.memory_reserved(work.device) if work.device.type == "cuda" else 0,
        loss=None if executed.loss is None else float(executed.loss),
    )


def _timed(work: Work, size: int) -> tuple[_Marks, StepFrames, Executed]:
    """Do a step's work, and read the clock at each border."""
    clock, span = time.perf_counter, work.span
    marks = [clock()]
    with span("step"):
        with span("read"):
            reading = work.reader.read(work.frames_per_step)
        marks.append(clock())
        with span("transfer"):
            tensors = _moved(to_tensors([one.pixels for one in reading.frames]), work.prep_device, work.synchronize)
        marks.append(clock())
        with span("prep"):
            prepared = work.prepare[size](tensors)
            if work.prep_device.type != "cpu":
                work.synchronize()
        marks.append(clock())
        with span("transfer"):
            (inputs,) = _moved([prepared], work.device, work.synchronize)
        marks.append(clock())
        with span("exec"):
            executed = work.execute(inputs, reading.frames)
            marks.append(clock())
            work.synchronize()
        marks.append(clock())
    marks.append(clock())
    return _Marks(*marks), reading, executed


def _moved(tensors: list[Tensor], device: torch.device, synchronize: Synchronize) -> list[Tensor]:
    """The tensors on ``device``; where they lie there already, nothing is copied and nothing waited for."""
    if all(one.device.type == device.type for one in tensors):
        return tensors
    moved = [one.to(device) for one in tensors]
    synchronize()
    return moved
