"""The resources of one worker process: ledger, spool, tiers, tables and, in GPU workers, warm models."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from inference.errors import Transient
from storage.errors import Unavailable
from storage.features.cache import FeatureCache
from storage.ledger import Deferred, Ledger, Periods, Run, WorkerReport, WorkerReports
from storage.spool import Spool
from storage.tables.protocol import InputTable, OutputTable
from storage.tables.version import InputVersion
from storage.tiers import Tiers
from tasks.messages import row_of
from tasks.queues import Queue, is_gpu_queue
from tasks.resources.extractors import Extractors
from tasks.resources.judge import open_judge
from tasks.resources.kernel_caches import keep_kernels
from tasks.resources.opening import OpenedOnce
from tasks.resources.redis import WORKER_PATIENCE_SECONDS, ledger_client, open_feature_cache
from tasks.resources.stores import open_tiers
from tasks.resources.tables import open_input, open_output
from tasks.settings import Settings

if TYPE_CHECKING:
    from inference.judge import Judge

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0  # between reports of failures


class UnknownRun(Transient):
    """The ledger does not know the run: it was emptied. Submitting the run again completes it."""

    code = "unknown_run"


class WrongManifest(Transient):
    """This worker holds another manifest than the run needs; the row waits for a worker with the right one."""

    code = "wrong_manifest"


class MeanCost:
    """Mean of seconds per video so far; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count, self._total_seconds = 0, 0.0

    def add(self, seconds: float) -> float:
        """Count one video and return the mean so far."""
        with self._lock:
            self._count += 1
            self._total_seconds += seconds
            return self._total_seconds / self._count


@dataclass(slots=True)
class Runtime:
    """Open resources of a worker process. Tables are opened at first use and shared by the process's threads."""

    settings: Settings
    ledger: Ledger
    deferred: Deferred
    spool: Spool
    tiers: Tiers | None = None  # io and GPU workers only
    judge: Judge | None = None  # GPU workers only
    extractors: Extractors | None = None  # GPU workers only
    feature_cache: FeatureCache | None = None  # GPU workers only, where one is set
    mean_cost: MeanCost = field(default_factory=MeanCost)
    worker: str = field(default_factory=lambda: secrets.token_hex(6))  # unique to this process
    name: str = ""  # of the worker, such as io@node1
    reports: WorkerReports | None = None
    periods: Periods | None = None
    open_input: Callable[..., InputTable] = open_input
    open_output: Callable[[str], OutputTable] = open_output
    _runs: dict[str, Run] = field(default_factory=dict)
    inputs: OpenedOnce[tuple[str, str | None, str], InputTable] = field(default_factory=OpenedOnce)
    outputs: OpenedOnce[tuple[str, tuple[str, ...]], OutputTable] = field(default_factory=OpenedOnce)
    _reported_at: float = float("-inf")
    _failure: str = ""

    def report_failure(self, text: str, *, is_pause: bool = False) -> None:
        """Report, at most once a second, why this process's rows are tried again.

        ``is_pause``: the text says only that a tier is paused; the failure before it says more, and is reported again.
        """
        now = time.monotonic()
        text = self._failure if is_pause and self._failure else text
        self._failure = text
        if self.reports is None or now - self._reported_at < REPORT_SECONDS:
            return
        self._reported_at = now
        with suppress(Unavailable):
            self.reports.put(WorkerReport(self.name or self.settings.node.name, "failing", frozenset(), 0.0, text))

    def run(self, run_id: str) -> Run:
        """Return the run; a run's parameters never change, so it is read once per process."""
        found = self._runs.get(run_id) or self.ledger.run(run_id)
        if found is None:
            msg = f"run {run_id} is not in the ledger: submit it again to continue"
            raise UnknownRun(msg)
        self._runs[run_id] = found
        return found

    def input_table(self, run: Run) -> InputTable:
        """Return the run's input, opened once, in the version that all processes of the run read."""
        url, text = run.spec.tables, self.ledger.input_version(run.run_id)
        version = InputVersion.from_json(text) if text else None
        chosen = {"selection": run.spec.selection} if run.spec.selection else {}
        key = (url, text, run.spec.selection)
        return self.inputs.get(key, url, lambda: self.open_input(url, version=version, **chosen))

    def forget_input(self, run: Run) -> None:
        """Open the run's input anew at its next use: it changed, and may have been restored by then."""
        self.inputs.forget((run.spec.tables, self.ledger.input_version(run.run_id), run.spec.selection))

    def output_table(self, run: Run) -> OutputTable:
        """Return the run's output, opened and prepared once for its extra columns."""

        def open_prepared() -> OutputTable:
            table = self.open_output(run.spec.outputs)
            table.prepare(run.extra_columns)
            return table

        return self.outputs.get((run.spec.outputs, run.extra_columns), run.spec.outputs, open_prepared)

    def judge_for(self, run_id: str) -> Judge:
        """Return the warm models; ``WrongManifest`` when the run needs others."""
        spec = self.run(run_id).spec
        if self.judge is None:
            msg = "this worker consumes no GPU queue, so it has no models: start it with -Q gpu"
            raise WrongManifest(msg)
        if self.judge.manifest.digest != spec.manifest_digest:
            msg = (
                f"run {run_id} needs manifest {spec.manifest} ({spec.manifest_digest[:12]}), this worker holds "
                f"{self.judge.manifest.name} ({self.judge.manifest.digest[:12]}): "
                "set TAMIS_MANIFEST to the same file on every node"
            )
            raise WrongManifest(msg)
        return self.judge

    def close(self) -> None:
        """Close everything, in reverse order of opening."""
        if self.feature_cache is not None:
            self.feature_cache.close()
        if self.extractors is not None:
            self.extractors.close()
        if self.judge is not None:
            self.judge.close()
        for output in self.outputs.opened():
            output.close()
        for source in self.inputs.opened():
            source.close()


def open_runtime(settings: Settings, queues: Iterable[str]) -> Runtime:
    """Open the resources that a worker of these queues needs; models are loaded only for GPU queues."""
    names = set(queues)
    needs_models = any(is_gpu_queue(queue) for queue in names)
    for fault in keep_kernels(settings.node.state_dir) if needs_models else []:
        log.warning("compiled kernels are not kept: %s; make it writable, or name another folder", fault)
    client = ledger_client(settings, patience_seconds=WORKER_PATIENCE_SECONDS)
    cache = open_feature_cache(settings) if needs_models else None
    return Runtime(
        settings=settings,
        open_input=partial(open_input, settings=settings),
        open_output=partial(open_output, settings=settings),
        ledger=Ledger(client),
        deferred=Deferred(client),
        reports=WorkerReports(client),
        periods=Periods(client),
        spool=Spool(settings.spool_root, limit_bytes=settings.spool.limit_bytes),
        tiers=open_tiers(settings) if needs_models or Queue.IO in names else None,
        judge=open_judge(settings, scratch=settings.spool_root, cache=cache) if needs_models else None,
        extractors=Extractors(settings) if needs_models else None,
        feature_cache=cache,
    )


def reclaim_or_log(rt: Runtime) -> None:
    """Remove leftovers from the spool; log when spool or ledger cannot be reached: the next tick tries again."""
    try:
        ended, dropped = _end_idle_leases(rt), rt.spool.reclaim()
    except Unavailable as error:
        log.warning("the spool was not reclaimed: %s", error)
        return
    if ended or dropped:
        log.info("spool reclaimed: leases of %d rows ended, %d leftovers dropped", ended, dropped)


def _end_idle_leases(rt: Runtime) -> int:
    """End the leases of rows that have their result; return the number of rows.

    A killed process releases nothing, and its row may then be judged on another node.
    """
    idle = [holder for holder in rt.spool.holders() if rt.ledger.is_recorded(*row_of(holder))]
    for holder in idle:
        rt.spool.release_all(holder)
    return len(idle)


# ── this process's runtime ───────────────────────────────────────────────────────────────────────────────────────────

_current: Runtime | None = None

opener: Callable[[Settings, Iterable[str]], Runtime] = open_runtime
"""Function that opens the runtime of this process's worker; the fault drill sets another one without models."""


def current() -> Runtime:
    """Return this worker process's runtime, which the worker's warm-up step has set."""
    if _current is None:
        msg = "no runtime is open: tasks run in a worker started by `tamis worker` or `tamis up`"
        raise RuntimeError(msg)
    return _current


def opened() -> Runtime | None:
    """Return this process's runtime, or None before warm-up and after shutdown."""
    return _current


def set_current(runtime: Runtime | None) -> None:
    """Make ``runtime`` the one that tasks of this process use."""
    global _current  # noqa: PLW0603 -- Celery builds tasks before a worker knows its queues: one slot, set once
    _current = runtime
