"""Write a trace of some steps: NVTX ranges for nsys, torch.profiler's Chrome trace, or the CUDA allocator's history.

A tracer gives the spans ``step``, ``read``, ``prep``, ``transfer`` and ``exec``; no code that is traced is changed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import torch
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile, record_function

from inference.profiling.options import Tracing

MEMORY_EVENTS = 100_000  # of the allocator, kept at most


class Tracer(Protocol):
    """One trace. It may be started and ended by other threads than those that it shows."""

    def start(self) -> None:
        """Begin to record."""
        ...

    def span(self, name: str) -> AbstractContextManager[object]:
        """A named part of a step."""
        ...

    def stop(self) -> Path | None:
        """End recording; the file that was written, if this process writes it."""
        ...


def make_tracer(kind: Tracing, stem: Path) -> Tracer:
    """Return a tracer that writes to ``stem`` with an ending of its own."""
    if kind is Tracing.NVTX:
        return NvtxTracer()
    if kind is Tracing.TORCH:
        return TorchTracer(Path(f"{stem}_trace.json.gz"))
    return MemoryTracer(Path(f"{stem}_memory.pickle"))


class TorchTracer:
    """torch.profiler on every thread of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profile = profile(
            activities=activities, acc_events=True, experimental_config=_ExperimentalConfig(profile_all_threads=True)
        )

    def start(self) -> None:
        """Begin to record."""
        self._profile.start()

    def span(self, name: str) -> AbstractContextManager[object]:
        """A range in the trace."""
        return record_function(name)

    def stop(self) -> Path:
        """Write the trace, gzipped JSON for https://ui.perfetto.dev or chrome://tracing."""
        self._profile.stop()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._profile.export_chrome_trace(str(self._path))
        return self._path


class NvtxTracer:
    """NVTX ranges, and the capture range between start and stop; nsys, which runs the process, writes the file."""

    def start(self) -> None:
        """Begin nsys' capture range."""
        torch.cuda.cudart().cudaProfilerStart()  # type: ignore[no-untyped-call]  # torch has no types for it

    def span(self, name: str) -> AbstractContextManager[object]:
        """A range on nsys' time line."""
        return torch.cuda.nvtx.range(name)

    def stop(self) -> None:
        """End nsys' capture range."""
        torch.cuda.cudart().cudaProfilerStop()  # type: ignore[no-untyped-call]  # as above


class MemoryTracer:
    """The CUDA allocator's events with their stacks, for https://pytorch.org/memory_viz."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def start(self) -> None:
        """Begin to record."""
        torch.cuda.memory._record_memory_history(max_entries=MEMORY_EVENTS)  # noqa: SLF001  the documented call

    def span(self, _name: str) -> AbstractContextManager[object]:
        """Nothing: the events carry stacks."""
        return nullcontext()

    def stop(self) -> Path:
        """Write the snapshot."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torch.cuda.memory._dump_snapshot(str(self._path))  # type: ignore[no-untyped-call]  # noqa: SLF001  as above
        torch.cuda.memory._record_memory_history(enabled=None)  # noqa: SLF001 -- its documented name
        return self._path


class StepTrace:
    """Traces ``count`` steps of a run after ``skip`` others, by a tracer."""

    def __init__(self, tracer: Tracer, skip: int, count: int) -> None:
        self.written: Path | None = None
        self._tracer = tracer
        self._first, self._last = skip, skip + count
        self._done = 0
        self._is_recording = False
        self._begin_or_end()

    def span(self, name: str) -> AbstractContextManager[object]:
        """The tracer's span while it records, else nothing."""
        return self._tracer.span(name) if self._is_recording else nullcontext()

    def step_ended(self) -> None:
        """Count a step."""
        self._done += 1
        self._begin_or_end()

    def close(self) -> None:
        """End the recording of a run that ended early."""
        if self._is_recording:
            self._is_recording, self.written = False, self._tracer.stop()

    def _begin_or_end(self) -> None:
        if self._done == self._first:
            self._tracer.start()
            self._is_recording = True
        elif self._done == self._last:
            self.close()


def nsys_command(words: str, stem: str) -> str:
    """The command line that records a capture range with nsys."""
    return f"nsys profile --capture-range=cudaProfilerApi --capture-range-end=stop -t cuda,nvtx,osrt -o {stem} {words}"
