"""Traces hold the spans of the chosen steps; what needs CUDA is called as its documentation says (no GPU here)."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

from inference.profiling.options import ProfileOptions, Tracing
from inference.profiling.run import run_profile
from inference.profiling.trace.tracing import StepTrace, make_tracer, nsys_command

Make = Callable[..., ProfileOptions]
SPANS = ("step", "read", "prep", "transfer", "exec")


def test_a_torch_trace_holds_the_spans_of_the_steps_after_the_warm_up(options: Make, tmp_path: Path) -> None:
    result = run_profile(options(trace=Tracing.TORCH, trace_steps=2, max_steps=5), tmp_path)
    assert result.trace_path is not None
    with gzip.open(result.trace_path) as opened:
        events = json.load(opened)["traceEvents"]
    spans = Counter(event["name"] for event in events if event.get("name") in SPANS and event.get("ph") == "X")
    assert spans == {"step": 2, "read": 2, "prep": 2, "exec": 2, "transfer": 4}
    assert any(event.get("name") == "aten::conv2d" for event in events)


def test_a_trace_of_more_steps_than_there_are_is_written_all_the_same(options: Make, tmp_path: Path) -> None:
    result = run_profile(options(trace=Tracing.TORCH, trace_steps=100), tmp_path)
    assert result.trace_path is not None
    assert result.trace_path.stat().st_size > 0


def test_nvtx_ranges_are_pushed_between_the_ends_of_the_capture_range(tmp_path: Path) -> None:
    said: list[str] = []
    runtime = mock.Mock()
    runtime.cudaProfilerStart.side_effect = lambda: said.append("start")
    runtime.cudaProfilerStop.side_effect = lambda: said.append("stop")
    ranges = mock.patch("torch.cuda.nvtx.range", side_effect=lambda name: said.append(name) or nullcontext())
    with mock.patch("torch.cuda.cudart", return_value=runtime), ranges:
        trace = StepTrace(make_tracer(Tracing.NVTX, tmp_path / "run"), skip=1, count=1)
        for _ in range(3):
            with trace.span("step"), trace.span("exec"):
                pass
            trace.step_ended()
    assert said == ["start", "step", "exec", "stop"]
    assert trace.written is None


def test_the_allocators_history_is_recorded_and_dumped(tmp_path: Path) -> None:
    with (
        mock.patch("torch.cuda.memory._record_memory_history") as record,
        mock.patch("torch.cuda.memory._dump_snapshot") as dump,
    ):
        trace = StepTrace(make_tracer(Tracing.MEMORY, tmp_path / "run"), skip=0, count=1)
        trace.step_ended()
    assert record.call_args_list[-1] == mock.call(enabled=None)
    dump.assert_called_once_with(str(tmp_path / "run_memory.pickle"))
    assert trace.written == tmp_path / "run_memory.pickle"


def test_the_command_line_for_nsys_captures_the_range() -> None:
    command = nsys_command("tamis profile --trace nvtx", "resnet50")
    assert "--capture-range=cudaProfilerApi" in command
    assert command.endswith("-o resnet50 tamis profile --trace nvtx")
