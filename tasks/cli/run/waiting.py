"""The reasons for which a run waits, as the ledger holds them: failing steps, queues that no worker serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from storage.ledger import Ledger, RunOrder, Trouble, WorkerReport, WorkerReports
from tasks.cli.run.progress import clock
from tasks.queues import Queue
from tasks.settings import Settings

NO_WORKER = "start the fleet with `tamis up`, unless it is just starting; the run waits for it"


@dataclass(frozen=True, slots=True)
class WaitReason:
    """A reason and its remedy. ``seconds``: for how long it has held, if that is known.

    Reasons of one ``key`` are one reason whose text changes. ``is_passing``: it ends by itself.
    """

    key: str
    text: str
    remedy: str
    seconds: float | None = None
    is_passing: bool = False

    @property
    def state(self) -> str:
        """Return the text, with the time for which it has held."""
        return f"{self.text} ({clock(self.seconds)} so far)" if self.seconds is not None else self.text

    def __str__(self) -> str:
        return f"{self.state}: {self.remedy}"


def wait_reasons(
    run_id: str, ledger: Ledger, reports: WorkerReports, settings: Settings, *, is_silent: bool = True
) -> list[WaitReason]:
    """Return the reasons why the run waits. Workers count only if the run is silent: without progress."""
    if order := ledger.orders.of(run_id):
        return [order_reason(run_id, order)]
    reasons = [trouble_reason(trouble)] if (trouble := ledger.trouble(run_id)) else []
    return [*reasons, *worker_reasons(ledger, reports, settings)] if is_silent else reasons


def order_reason(run_id: str, order: RunOrder) -> WaitReason:
    """Return the reason of a run that an operator has paused or cancelled."""
    remedies = {
        RunOrder.PAUSED: f"`tamis resume {run_id}` lets it go on",
        RunOrder.CANCELLED: "submitting it again judges the other rows",
    }
    return WaitReason(order.value, f"an operator has {order} the run", remedies[order])


def trouble_reason(trouble: Trouble) -> WaitReason:
    """Return the reason of a step that cannot go on."""
    text = f"{trouble.step} waits: {trouble.text}"
    return WaitReason(text, text, "the run continues by itself once that is corrected")


def worker_reasons(ledger: Ledger, reports: WorkerReports, settings: Settings) -> Iterator[WaitReason]:
    """Yield the workers that fail, and for every queue without a worker: none is up, it warms up, or it was drained."""
    fresh_seconds = settings.delivery.node_silence_seconds / 2  # a serving worker reports more often
    served = {role for node in ledger.heartbeats.nodes(fresh_seconds) for role in node.roles}
    unserved = {queue.value for queue in Queue} - served
    known = reports.all()
    for worker in known:
        if worker.state == "failing":
            text = f"{worker.name} fails: {worker.reason}"
            yield WaitReason(f"failing {worker.name}", text, "it tries again until that is corrected")
        elif covered := worker.queues & unserved:
            unserved -= covered
            yield not_ready_reason(worker)
    if unserved and not served and not known:
        yield WaitReason("no worker", "no worker is up", NO_WORKER)
    elif unserved:
        names = ", ".join(sorted(unserved))
        yield WaitReason(names, f"no worker serves the queues {names}", f"{NO_WORKER} (or see that worker's log)")


def not_ready_reason(worker: WorkerReport) -> WaitReason:
    """Return the reason of a worker that warms up or was drained."""
    if worker.state == "warming":
        text = f"{worker.name} warms its models up"
        return WaitReason(text, text, "it takes rows after that", worker.seconds, is_passing=True)
    text = f"{worker.name} was drained by an operator"
    return WaitReason(text, text, f"`tamis control resume -d {worker.name}` lets it take messages again")
