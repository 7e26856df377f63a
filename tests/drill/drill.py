"""A drill of one host, from submit to the end. Imported only when the environment holds the world's settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from kombu.exceptions import OperationalError

from inference.manifest import load_manifest
from storage.errors import Unavailable
from storage.ledger import Deferred, Ledger, RunSpec
from tasks.resources.redis import ledger_client
from tasks.settings import current
from tasks.submit import prepare, submit
from tests.drill.brokers import Broker
from tests.drill.comparison import compare_with_output
from tests.drill.enclosure import descendants
from tests.drill.fleet import AbsenceRecorder, DrillFleet, node_specs
from tests.drill.injection import FaultInjector
from tests.drill.invariants import PROBLEMS, Invariants, spool_leases
from tests.drill.judging import MANIFEST
from tests.drill.plan import FleetFault
from tests.drill.redelivery import Redelivery, redeliveries
from tests.drill.step_log import read_step_logs
from tests.drill.tables import OdpsTables
from tests.drill.watcher import Watcher
from tests.drill.world import SPOOL_BYTES, DrillWorld

POLL_SECONDS = 0.1
RETRIED = ("object_missing", "row_unwritable")
START_SECONDS = 180.0
SUBMISSIONS = 30
WATCH_SECONDS = 60.0  # after the last row, until `tamis watch` has ended
LEFTOVER_SECONDS = 60.0  # after the last row, for duplicates to be processed and leases to end


@dataclass
class Report:
    """Result of a drill; without ``problems`` it has passed."""

    last_line: str = ""
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)


def run_drill(
    world: DrillWorld, broker: Broker, tables: OdpsTables, *, has_disks: bool, seconds: float, redelivery_seconds: float
) -> Report:
    """Run the drill and end all its processes; return its result.

    A drill that takes longer than ``seconds``, or an interrupted step longer than ``redelivery_seconds``, is a problem.
    """
    request = prepare(world.tables, world.outputs, frozenset(["vfx_enable"]), load_manifest(MANIFEST))
    environment = world.environment({**broker.environment(), **tables.environment()})
    fleet = DrillFleet(world, [spec for node in world.nodes for spec in node_specs(world, node, environment)])
    with closing(ledger_client(current())) as client:
        ledger, deferred = Ledger(client), Deferred(client)
        invariants = Invariants(world, ledger, request.spec.run_id, tables)
        send = partial(submit_repeatedly, partial(submit, request, current().flow.shard_rows, ledger))
        injector, recorder = (
            FaultInjector(world, broker, fleet, invariants, send, has_disks, tables),
            AbsenceRecorder(fleet),
        )
        watcher = Watcher(request.spec.run_id, environment, world.state / "watch.log")
        fleet.start()
        try:
            if wait_for(fleet.is_up, START_SECONDS):
                hanging = _submit_hanging(world, ledger)
                send()
                _run(injector, recorder, invariants, watcher, time.monotonic() + seconds)
                injector.end_all()
                ledger.forget(hanging)
                check_leftovers(world.nodes, broker.unfinished, deferred, invariants)
            else:
                invariants.expect(False, f"not all processes were up within {START_SECONDS:g} s: {fleet.pids()}")
        finally:
            injector.end_all()
            watcher.stop()
            invariants.problems += [*watcher.problems, *fleet.stop()]
            broker.stop()
    wait_for(lambda: not descendants(), START_SECONDS)
    invariants.problems += [f"left behind: pid {pid}: {command}" for pid, command in descendants().items()]
    for late in _redeliveries(world, injector, recorder):
        problem = f"{late.step}: begun again {late.seconds:.1f} s after {late.kill.name} was killed"
        invariants.expect(late.seconds <= redelivery_seconds, problem)
    return _report(world, injector, recorder, invariants)


def _submit_hanging(world: DrillWorld, ledger: Ledger) -> str:
    """Submit a run whose input never opens: it must delay no other run."""
    spec = RunSpec(world.hanging, world.outputs, ("vfx_enable",), MANIFEST, "drill")
    ledger.submit(spec, total_rows=10, shard_rows=10, extra_columns=())
    return spec.run_id


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until the condition holds; return False after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def submit_repeatedly(send: Callable[[], object]) -> None:
    """Submit again and again while the broker cannot be reached."""
    for _ in range(SUBMISSIONS - 1):
        try:
            send()
        except (Unavailable, OperationalError):
            time.sleep(1)
        else:
            return
    send()


def _run(
    injector: FaultInjector, recorder: AbsenceRecorder, invariants: Invariants, watcher: Watcher, deadline: float
) -> None:
    """Inject faults and check until every row is written, some again by a retry, and every fault is over."""
    is_retried = False
    while injector.left or not invariants.is_complete or not is_retried:
        if invariants.is_complete and not injector.left:
            is_retried = True
            _retry(invariants)
        recorder.check()
        invariants.check()
        injector.step()
        if not invariants.is_complete:
            watcher.check()
        if time.monotonic() > deadline:
            invariants.expect(False, f"not done in time: {invariants.done_rows} rows, {injector.left} faults to come")
            return
        if invariants.is_complete and injector.left:
            pending = [planned for planned in injector.waiting if planned.at_row > invariants.done_rows]
            invariants.expect(not pending, f"the run ended before {pending}")
        time.sleep(POLL_SECONDS)
    watcher.finish(WATCH_SECONDS)


def _retry(invariants: Invariants) -> None:
    """Retry rows of two failure codes, which fail again: their new rows take the place of the old ones."""
    failed = {
        int(result["ordinal"]): str(result["error"]["code"])
        for result, _ in invariants.output.results()
        if result["succeed"] == "false" and result["error"]["code"] in RETRIED
    }
    invariants.may_count_again()
    invariants.expect(invariants.ledger.open_retry(invariants.run_id, "drill", failed) > 0, "no row was retried")
    invariants.check()


def check_leftovers(
    nodes: Sequence[str], unfinished: Callable[[], int], deferred: Deferred, invariants: Invariants
) -> None:
    """Wait for duplicates and leases to end; note a problem for each that is left."""
    wait_for(lambda: not unfinished() and not len(deferred), LEFTOVER_SECONDS)
    invariants.expect(not unfinished(), f"{unfinished()} messages are left in the broker")
    invariants.expect(not len(deferred), f"{len(deferred)} messages are deferred")
    for node in nodes:
        wait_for(lambda node=node: not spool_leases(invariants.world, node), LEFTOVER_SECONDS)
        left = spool_leases(invariants.world, node)
        invariants.expect(not left, f"leases left in the spool of {node}: {left}")


def _redeliveries(world: DrillWorld, injector: FaultInjector, recorder: AbsenceRecorder) -> list[Redelivery]:
    events = read_step_logs(world.step_logs)
    return redeliveries(events, injector.kills, injector.outages, recorder.absences, injector.fleet.deaths)


def _report(world: DrillWorld, injector: FaultInjector, recorder: AbsenceRecorder, invariants: Invariants) -> Report:
    found, slow = compare_with_output(world, injector.tables), _redeliveries(world, injector, recorder)
    slowest = slow[0].seconds if slow else 0.0
    faults = sum(injector.done.values()) - injector.done[FleetFault.KILL] + world.spent_marks("store-")
    problems = [
        *invariants.problems,
        *injector.tables.problems(),
        *world.reported_problems(),
        *found.differences[:PROBLEMS],
    ]
    problems += [f"rows lost {found.lost}, twice {found.twice}"] if found.lost or found.twice else []
    return Report(
        problems=problems,
        story=injector.story,
        lines=[
            "  injected  " + ", ".join(f"{count} × {fault.value}" for fault, count in injector.done.items()),
            f"  outcomes  {dict(found.outcomes)}",
            f"  output    {injector.tables.count_physical()} physical rows, counted through the view",
            f"  checks    {invariants.checks}; fullest spool {invariants.most_spool_bytes} of {SPOOL_BYTES} bytes"
            + ("" if injector.has_disks else "; no disk was filled: mounting is not allowed here"),
            f"  redelivered {len(slow)} interrupted steps; slowest "
            + ", ".join(f"{redelivery.seconds:.1f} s ({redelivery.step})" for redelivery in slow[:3]),
        ],
        last_line=(
            f"drill: rows={world.rows} kills={len(injector.kills)} faults={faults} "
            f"lost={found.lost} twice={found.twice} redelivery_max_s={slowest:.1f}"
        ),
    )
