"""Whole profiles of real clips on the CPU: every option of a run, its files, its sums."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch._dynamo.utils

from inference.errors import ProfilingError
from inference.profiling.options import Mode, PrepLevel, ProfileOptions
from inference.profiling.run import run_profile
from inference.profiling.steps.steps import StepPhase, TimedStep

Make = Callable[..., ProfileOptions]
COLUMNS = ["step", "read_latency_ms", "prep_latency_ms", "exec_latency_ms", "total_step_latency_ms", "loss"]


def metrics(directory: Path) -> list[dict[str, str]]:
    (path,) = directory.glob("M_*_P_*_metrics.csv")
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize(
    ("level", "mode", "is_amp"),
    [(level, mode, place % 2 == 1) for place, (level, mode) in enumerate(itertools.product(PrepLevel, Mode))],
)
def test_each_preparation_mode_and_precision_gives_one_line_a_step(
    level: PrepLevel, mode: Mode, is_amp: bool, options: Make, tmp_path: Path
) -> None:
    result = run_profile(options(prep_level=level, mode=mode, use_amp=is_amp, batch_size=2), tmp_path)
    rows = metrics(tmp_path)
    assert list(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert all((row["loss"] != "") is (mode is Mode.RETRAIN) for row in rows)
    assert all(float(row["exec_latency_ms"]) > 0 and float(row["prep_latency_ms"]) > 0 for row in rows)
    assert result.summary.steps == 3


def test_the_parts_of_a_step_and_the_steps_of_a_run_add_up_to_the_clock(options: Make, tmp_path: Path) -> None:
    summary = run_profile(options(max_steps=20, batch_size=2), tmp_path).summary
    assert summary.sum_error < 0.02
    assert summary.wall_error < 0.02


def test_a_run_that_is_interrupted_keeps_its_lines_and_its_figures(options: Make, tmp_path: Path) -> None:
    def strike(step: TimedStep) -> None:
        if step.index == 5:
            raise KeyboardInterrupt

    result = run_profile(options(max_steps=1000), tmp_path, strike)
    assert result.is_interrupted
    assert len(result.steps) == len(metrics(tmp_path)) == 6
    assert result.summary.samples_per_second > 0


def test_the_first_step_of_each_size_is_told_apart(options: Make, tmp_path: Path) -> None:
    result = run_profile(options(input_sizes=(64, 96), max_steps=6, warmup_steps=2), tmp_path)
    assert [step.phase for step in result.steps[:3]] == [StepPhase.FIRST, StepPhase.FIRST, StepPhase.STEADY]
    assert [call.size for call in result.summary.first_calls] == [64, 96]
    assert all(call.first_ms > 0 and call.steady_ms > 0 for call in result.summary.first_calls)


def test_repeats_give_an_interval_and_one_run_gives_none(options: Make, tmp_path: Path) -> None:
    repeated = run_profile(options(repeats=3), tmp_path).summary
    assert repeated.throughput is not None
    assert repeated.throughput.repeats == 3
    assert repeated.steps == 9
    assert run_profile(options(), tmp_path).summary.throughput is None


def test_a_new_head_learns_the_folders_of_a_directory(options: Make, two_classes: Path, tmp_path: Path) -> None:
    made = options(
        model_name="resnet18",
        mode=Mode.RETRAIN,
        input_path=str(two_classes),
        max_steps=15,
        batch_size=24,
        input_sizes=(32,),
        prep_level=PrepLevel.MEDIUM,
    )
    losses = run_profile(made, tmp_path).summary.losses
    assert losses is not None
    assert losses[1] < 0.5 * losses[0]


def test_gradients_are_checkpointed_on_demand(options: Make, tmp_path: Path) -> None:
    result = run_profile(options(mode=Mode.RETRAIN, checkpoint_gradients=True), tmp_path)
    assert result.steps[-1].loss is not None


def test_a_compiled_model_is_captured_at_its_first_call_of_each_size(
    options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without code generation, which takes a C++ compiler and half a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", dynamic=False))
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    result = run_profile(options(enable_compile=True, model_name="squeezenet1_1", input_sizes=(64, 96)), tmp_path)
    assert counters["stats"]["unique_graphs"] >= 2
    assert all(call.first_ms > call.steady_ms for call in result.summary.first_calls)


def test_a_thread_may_read_ahead(options: Make, tmp_path: Path) -> None:
    summary = run_profile(options(read_ahead=True, max_steps=12), tmp_path).summary
    assert summary.lost_frames == 0
    assert summary.queue_age_ms is not None


def test_a_directory_of_clips_is_read_round_and_round(options: Make, two_classes: Path, tmp_path: Path) -> None:
    result = run_profile(options(input_path=str(two_classes), batch_size=10, max_steps=5), tmp_path)
    assert len(result.steps) == 6  # 60 frames of 24


def test_a_file_that_is_no_video_is_named(options: Make, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(ProfilingError, match=r"notes\.mp4 cannot be decoded"):
        run_profile(options(input_path=str(tmp_path / "notes.mp4")), tmp_path)


@pytest.mark.parametrize("source", ["/no/such/clip.mp4", "4711"])
def test_a_source_that_does_not_exist_is_one_clear_line(source: str, options: Make, tmp_path: Path) -> None:
    with pytest.raises(ProfilingError, match="does not exist") as caught:
        run_profile(options(input_path=source), tmp_path)
    assert "\n" not in str(caught.value)
