"""One drill from submit to drain. Imported only when the environment holds the world's settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from kombu.exceptions import OperationalError

from inference.manifest import load_manifest
from storage.errors import Unavailable
from storage.ledger import Deferred, Ledger
from tasks.node.processes import ProcessSpec
from tasks.resources.redis import ledger_client
from tasks.settings import current
from tasks.submit import prepare, submit
from tests.drill.brokers import Broker
from tests.drill.diary import read_diaries
from tests.drill.enclosure import descendants
from tests.drill.fleet import Fleet, node_specs
from tests.drill.judging import MANIFEST
from tests.drill.plan import Fault
from tests.drill.presence import Presence
from tests.drill.reckoning import reckon
from tests.drill.redelivery import redeliveries
from tests.drill.strikes import Strikes
from tests.drill.watch import PROBLEMS, Watch, spool_leases
from tests.drill.world import SPOOL_BYTES, World

LOOK_SECONDS = 0.1
START_SECONDS = 180.0
SUBMISSIONS = 30
SETTLE_SECONDS = 60.0  # for duplicates to drain and leases to end, after the last row
REDELIVERY_LIMIT_SECONDS = 10.0


@dataclass
class Report:
    """How it went."""

    last_line: str = ""
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)


def run_drill(world: World, broker: Broker, *, has_disks: bool, seconds: float) -> Report:
    """Run it to the end, whatever happens; nothing is left running."""
    request = prepare(world.tables, world.outputs, frozenset(["vfx_enable"]), load_manifest(MANIFEST))
    environment = world.environment(broker.environment())
    fleet = Fleet(world, _specs(world, environment))
    with closing(ledger_client(current())) as client:
        ledger, deferred = Ledger(client), Deferred(client)
        watch = Watch(world, ledger, request.spec.run_id)
        send = partial(insist, partial(submit, request, current().flow.shard_rows, ledger))
        strikes, presence = Strikes(world, broker, fleet, watch, send, has_disks), Presence(fleet)
        fleet.start()
        try:
            if wait_for(fleet.is_up, START_SECONDS):
                send()
                _fight(strikes, presence, watch, time.monotonic() + seconds)
                strikes.end_all()
                settle(world.nodes, broker.unfinished, deferred, watch)
            else:
                watch.expect(False, f"not all processes were up within {START_SECONDS:g} s: {fleet.pids()}")
        finally:
            strikes.end_all()
            watch.problems += fleet.stop()
            broker.stop()
    wait_for(lambda: not descendants(), START_SECONDS)
    watch.problems += [f"left behind: pid {pid}: {command}" for pid, command in descendants().items()]
    return _report(world, strikes, presence, watch)


def _specs(world: World, environment: Mapping[str, str]) -> list[ProcessSpec]:
    """Every node's processes. One beat is enough."""
    found = [spec for node in world.nodes for spec in node_specs(world, node, environment)]
    return [spec for spec in found if not spec.name.startswith("beat@") or spec.name == f"beat@{world.nodes[0]}"]


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Look until the condition holds; False when it did not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def insist(send: Callable[[], object]) -> None:
    """Submit as an operator would: again, while the broker says that it cannot."""
    for _ in range(SUBMISSIONS - 1):
        try:
            send()
        except (Unavailable, OperationalError):
            time.sleep(1)
        else:
            return
    send()


def _fight(strikes: Strikes, presence: Presence, watch: Watch, deadline: float) -> None:
    """Strike and look until every row is written and every strike is done."""
    while strikes.left or not watch.is_complete:
        presence.look()
        watch.look()
        strikes.step()
        if time.monotonic() > deadline:
            watch.expect(False, f"not done in time: {watch.done_rows} rows, {strikes.left} strikes to come")
            return
        if watch.is_complete and strikes.left:
            pending = [strike for strike in strikes.waiting if strike.at_row > watch.done_rows]
            watch.expect(not pending, f"the run ended before {pending}")
        time.sleep(LOOK_SECONDS)


def settle(nodes: Sequence[str], unfinished: Callable[[], int], deferred: Deferred, watch: Watch) -> None:
    """Duplicates run dry and every lease ends; what is then still there was leaked."""
    wait_for(lambda: not unfinished() and not len(deferred), SETTLE_SECONDS)
    watch.expect(not unfinished(), f"{unfinished()} messages are left in the broker")
    watch.expect(not len(deferred), f"{len(deferred)} messages wait for their time")
    for node in nodes:
        wait_for(lambda node=node: not spool_leases(watch.world, node), SETTLE_SECONDS)
        left = spool_leases(watch.world, node)
        watch.expect(not left, f"leases left in the spool of {node}: {left}")


def _report(world: World, strikes: Strikes, presence: Presence, watch: Watch) -> Report:
    found, entries = reckon(world), read_diaries(world.diaries)
    slow = redeliveries(entries, strikes.kills, strikes.outages, presence.absences, strikes.fleet.deaths)
    slowest = slow[0].seconds if slow else 0.0
    faults = sum(strikes.done.values()) - strikes.done[Fault.KILL] + world.spent_marks("store-")
    late = [one for one in slow if one.seconds > REDELIVERY_LIMIT_SECONDS]
    problems = [*watch.problems, *world.complaints(), *found.differences[:PROBLEMS]]
    problems += [f"{one.step}: begun again {one.seconds:.1f} s after {one.kill.name} was killed" for one in late]
    problems += [f"rows lost {found.lost}, twice {found.twice}"] if found.lost or found.twice else []
    return Report(
        problems=problems,
        story=strikes.diary,
        lines=[
            "  struck    " + ", ".join(f"{count} × {fault.value}" for fault, count in strikes.done.items()),
            f"  outcomes  {dict(found.outcomes)}",
            f"  looks     {watch.looks}; fullest spool {watch.most_spool_bytes} of {SPOOL_BYTES} bytes"
            + ("" if strikes.has_disks else "; no disk was filled: mounting is not allowed here"),
            f"  redelivered {len(slow)} interrupted steps; slowest "
            + ", ".join(f"{one.seconds:.1f} s ({one.step})" for one in slow[:3]),
        ],
        last_line=(
            f"drill: rows={world.rows} kills={len(strikes.kills)} faults={faults} "
            f"lost={found.lost} twice={found.twice} redelivery_max_s={slowest:.1f}"
        ),
    )
