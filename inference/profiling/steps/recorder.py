"""The two CSV files of a profile: one with the six agreed columns, one with the rest, valid up to the last step."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from inference.profiling.steps.steps import TimedStep

METRICS = ("step", "read_latency_ms", "prep_latency_ms", "exec_latency_ms", "total_step_latency_ms", "loss")
DETAILS = (
    "repeat", "phase", "size", "started_seconds", "transfer_ms", "wait_ms", "gap_ms", "launch_ms", "first_part_ms",
    "preempted_ms", "queue_age_ms", "lost_frames", "reserved_bytes",
)  # fmt: skip
"""Columns of the second file after ``step``: attributes of :class:`TimedStep`."""


def run_stem(model_name: str, pid: int) -> str:
    """The part of their names that a run's files share: ``M_<model>_P_<pid>``.

    >>> run_stem("google/vit-base", 7)
    'M_google-vit-base_P_7'
    """
    return f"M_{re.sub(r'[^A-Za-z0-9_.-]+', '-', model_name).strip('-')}_P_{pid}"


class Recorder:
    """Writes each step as it ends. Every line is flushed whole, so that a killed run leaves valid files."""

    def __init__(self, directory: Path, stem: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.metrics_path = directory / f"{stem}_metrics.csv"
        self.details_path = directory / f"{stem}_details.csv"
        self._metrics = self.metrics_path.open("w", newline="", encoding="utf-8", buffering=1)
        self._details = self.details_path.open("w", newline="", encoding="utf-8", buffering=1)
        csv.writer(self._metrics, lineterminator="\n").writerow(METRICS)
        csv.writer(self._details, lineterminator="\n").writerow(("step", *DETAILS))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.close()
        self._details.close()

    def write(self, step: TimedStep) -> None:
        """Append one line to each file."""
        loss = "" if step.loss is None else f"{step.loss:.6f}"
        times = (step.read_ms, step.prep_ms, step.exec_ms, step.total_ms)
        self._metrics.write(f"{step.index},{','.join(f'{one:.4f}' for one in times)},{loss}\n")
        details = ",".join(_text(getattr(step, name)) for name in DETAILS)
        self._details.write(f"{step.index},{details}\n")


def _text(value: float | str) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)
