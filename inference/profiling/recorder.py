"""The two CSV files of a profile: one with the six agreed columns, one with the rest, valid up to the last step."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from inference.profiling.steps import Step

METRICS = ("step", "read_latency_ms", "prep_latency_ms", "exec_latency_ms", "total_step_latency_ms", "loss")
DETAILS = (
    "step", "repeat", "phase", "size", "started_seconds", "transfer_ms", "wait_ms", "launch_ms", "first_part_ms",
    "preempted_ms", "queue_age_ms", "lost_frames", "reserved_bytes",
)  # fmt: skip


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
        csv.writer(self._details, lineterminator="\n").writerow(DETAILS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.close()
        self._details.close()

    def write(self, step: Step) -> None:
        """Append one line to each file."""
        loss = "" if step.loss is None else f"{step.loss:.6f}"
        times = (step.read_ms, step.prep_ms, step.exec_ms, step.total_ms)
        self._metrics.write(f"{step.index},{','.join(f'{one:.4f}' for one in times)},{loss}\n")
        others = [step.transfer_ms, step.wait_ms, step.launch_ms, step.first_part_ms, step.preempted_ms]
        others.append(step.queue_age_ms)
        head = f"{step.index},{step.repeat},{step.phase.value},{step.size},{step.started_seconds:.6f}"
        tail = f"{step.lost_frames},{step.reserved_bytes}"
        self._details.write(f"{head},{','.join(f'{one:.4f}' for one in others)},{tail}\n")
