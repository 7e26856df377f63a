"""The status of a run at one instant: its rows, rate and time left, where the time goes, tiers, failures, workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from storage.ledger import Counts, Figures, Ledger, Run, RunOrder
from storage.ledger.figures import WAITS
from tasks.broker.questions import ask_workers
from tasks.estimate.running import TimeLeft, time_left

if TYPE_CHECKING:
    from celery import Celery

ANSWER_SECONDS = 0.7  # that workers have to answer


@dataclass(frozen=True, slots=True)
class StageShare:
    """A stage's mean time in the rows that passed it, and its share of the time of all stages."""

    stage: str
    rows: int
    mean_milliseconds: float
    share: float
    is_wait: bool  # nothing works in it: the row waits in a queue


@dataclass(frozen=True, slots=True)
class WorkerWork:
    """A worker that answers: the messages that it works on, those of this run, and whether it takes new ones."""

    name: str
    phase: str
    tasks: int
    of_run: int
    is_taking: bool


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The status of a run."""

    run: Run
    counts: Counts
    left: TimeLeft | None
    stages: tuple[StageShare, ...]  # the one that takes most time first
    tiers: Mapping[str, int]
    workers: tuple[WorkerWork, ...] = ()

    @property
    def is_over(self) -> bool:
        """True if nothing more happens: the run is complete, or cancelled and written."""
        return self.run.is_complete or (self.run.order is RunOrder.CANCELLED and not self.counts.open_shards)

    @property
    def slowest(self) -> StageShare | None:
        """The stage in which most work goes; waits do not count."""
        return next((stage for stage in self.stages if not stage.is_wait), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        left = self.left
        return {
            "run": self.run.run_id,
            "state": self.run.state,
            "rows": self.counts.rows,
            "ok": self.counts.ok,
            "failed": self.counts.failed,
            "in_flight": self.counts.in_flight,
            "open_shards": self.counts.open_shards,
            "rows_per_second": left.rows_per_second if left else None,
            "seconds_left": {"low": left.seconds.low, "middle": left.seconds.middle, "high": left.seconds.high}
            if left
            else None,
            "stages": list(self.stages),
            "tiers": dict(self.tiers),
            "failures": dict(self.counts.failures),
            "workers": list(self.workers),
        }


def status_of(run_id: str, ledger: Ledger, now: datetime, workers: Sequence[WorkerWork] = ()) -> RunStatus | None:
    """Read the run's status; ``None`` if the ledger does not know it. Raises ``Unavailable``."""
    run, counts, figures = ledger.run(run_id), ledger.counts(run_id), ledger.figures.of(run_id)
    if run is None or counts is None:
        return None
    left = None if run.is_complete or run.order else time_left(figures, counts, now)
    return RunStatus(run, counts, left, stage_shares(figures), figures.tiers, tuple(workers))


def stage_shares(figures: Figures) -> tuple[StageShare, ...]:
    """Return the stages, the one that took most time first."""
    total = sum(time.milliseconds for time in figures.stages.values()) or 1
    shares = (
        StageShare(stage, time.rows, time.milliseconds / max(time.rows, 1), time.milliseconds / total, stage in WAITS)
        for stage, time in figures.stages.items()
    )
    return tuple(sorted(shares, key=lambda stage: (-stage.share, stage.stage)))


def work_of_workers(run_id: str, app: Celery) -> tuple[WorkerWork, ...]:
    """Ask the workers what they do; those that do not answer in time are left out. Empty without a broker."""
    pools, active = (ask_workers(app, question, ANSWER_SECONDS) for question in ("pool", "active"))
    return tuple(_work(name, pools.get(name, {}), active.get(name, []), run_id) for name in sorted({*pools, *active}))


def _work(name: str, pool: Any, active: Any, run_id: str) -> WorkerWork:
    shown, tasks = (pool if isinstance(pool, dict) else {}), (active if isinstance(active, list) else [])
    is_taking = bool(shown.get("is_gate_open", True)) and not shown.get("is_cordoned", False)
    of_run = sum(run_id in str(task.get("args")) for task in tasks)
    return WorkerWork(name, str(shown.get("phase", "unknown")), len(tasks), of_run, is_taking)
