"""A drill of several nodes: one is disconnected for a while, one loses its power.

Imported only when the environment holds the world's settings.
"""

from __future__ import annotations

import random
import time
from contextlib import closing
from functools import partial

from inference.manifest import load_manifest
from storage.ledger import Deferred, Ledger
from tasks.resources.redis import ledger_client
from tasks.settings import current
from tasks.submit import prepare, submit
from tests.drill.comparison import compare_with_output
from tests.drill.drill import POLL_SECONDS, START_SECONDS, Report, check_leftovers, submit_repeatedly, wait_for
from tests.drill.enclosure import descendants
from tests.drill.hosts import Hosts, OutsideBroker
from tests.drill.invariants import PROBLEMS, Invariants
from tests.drill.judging import MANIFEST
from tests.drill.network import Network
from tests.drill.node_faults import NodeFaults
from tests.drill.redelivery import redeliveries
from tests.drill.step_log import read_step_logs
from tests.drill.tables import SqliteOutputRows
from tests.drill.world import FAULTS_OVER, DrillWorld

PROBE_SECONDS = 45.0
"""Longest age of a disconnected worker's health file: a probe with a limit of 60 s must not kill the worker."""
BACK_LIMIT_SECONDS = 30.0
"""Longest time from the return of a node's network until all its workers work again."""
RESCUE_SLACK_SECONDS = 15.0
"""Time for a rescue beyond the node's silence: for visibility timeouts and the next periodic task."""


def run_nodes_drill(
    world: DrillWorld, network: Network, broker: OutsideBroker, *, cut_seconds: float, seconds: float
) -> Report:
    """Run the drill and end all its processes; return its result."""
    request = prepare(world.tables, world.outputs, frozenset(["vfx_enable"]), load_manifest(MANIFEST))
    hosts = Hosts(world, network)
    cut_node, dead_node = random.Random(f"nodes {world.seed}").sample(network.nodes, 2)
    with closing(ledger_client(current())) as client:
        ledger = Ledger(client)
        invariants = Invariants(world, ledger, request.spec.run_id, SqliteOutputRows(world))
        faults = NodeFaults(hosts, broker, invariants, cut_node, dead_node, cut_seconds)
        complete_seconds = 0.0
        hosts.start()
        try:
            if wait_for(hosts.is_up, START_SECONDS):
                started = time.monotonic()
                submit_repeatedly(partial(submit, request, current().flow.shard_rows, ledger))
                _run(faults, invariants, started + seconds)
                complete_seconds = time.monotonic() - started
                living = [node for node in network.nodes if node != dead_node]
                check_leftovers(living, broker.unfinished, Deferred(client), invariants)
            else:
                invariants.expect(False, f"not all nodes' workers were up within {START_SECONDS:g} s")
        finally:
            faults.close()
            invariants.problems += hosts.stop()
    broker.stop()
    left = {pid: said for pid, said in descendants().items() if any(pid in network.pids(n) for n in network.nodes)}
    invariants.problems += [f"left behind: pid {pid}: {command}" for pid, command in left.items()]
    return _report(world, faults, invariants, complete_seconds)


def _run(faults: NodeFaults, invariants: Invariants, deadline: float) -> None:
    """Inject faults and check until every row is written and every fault is over."""
    while not (invariants.is_complete and faults.is_over):
        invariants.check()
        faults.step()
        if faults.is_over:
            invariants.world.claim(FAULTS_OVER)
        if time.monotonic() > deadline:
            invariants.expect(False, f"not done in time: {invariants.done_rows} rows; {faults.story}")
            return
        if invariants.is_complete and not faults.is_over:
            invariants.expect(False, f"the run ended before the faults: {faults.story}")
            return
        time.sleep(POLL_SECONDS)


def _report(world: DrillWorld, faults: NodeFaults, invariants: Invariants, complete_seconds: float) -> Report:
    found = compare_with_output(world, SqliteOutputRows(world))
    slow = redeliveries(read_step_logs(world.step_logs), faults.kills, [], [], {})
    slowest = slow[0].seconds if slow else 0.0
    rescue_limit = current().delivery.node_silence_seconds + RESCUE_SLACK_SECONDS
    back = faults.back_seconds
    for one in faults.stranded.values():
        invariants.expect(
            one.seconds <= rescue_limit, f"messages waited {one.seconds:.1f} s for {one.node}, which was lost"
        )
    invariants.expect(back is None or back <= BACK_LIMIT_SECONDS, f"{faults.cut_node} was back only after {back} s")
    silent = faults.most_silent_seconds
    invariants.expect(
        silent <= PROBE_SECONDS,
        f"a worker of {faults.cut_node} had a stale health file for {silent:.1f} s while cut off",
    )
    problems = [*invariants.problems, *world.reported_problems(), *found.differences[:PROBLEMS]]
    problems += [f"rows lost {found.lost}, twice {found.twice}"] if found.lost or found.twice else []
    rescued = sum(one.messages for one in faults.stranded.values())
    rescue_seconds = max((one.seconds for one in faults.stranded.values()), default=0.0)
    return Report(
        problems=problems,
        story=faults.story,
        lines=[
            f"  cut off   {faults.cut_node} for {faults.cut_seconds:g} s; its health files at most {silent:.1f} s old",
            f"  no power  {faults.dead_node}",
            *(f"  stranded  {one.messages} in gpu.{n}, for {one.seconds:.1f} s" for n, one in faults.stranded.items()),
            f"  outcomes  {dict(found.outcomes)}",
            f"  redelivered {len(slow)} interrupted steps",
        ],
        last_line=(
            f"drill: rows={world.rows} kills={len(faults.kills)} faults={world.spent_marks('store-') + 2} "
            f"lost={found.lost} twice={found.twice} redelivery_max_s={slowest:.1f} nodes={len(world.nodes)} cuts=1 "
            f"rescued={rescued} rescue_max_s={rescue_seconds:.1f} back_s={-1 if back is None else round(back, 1)} "
            f"complete_s={complete_seconds:.1f}"
        ),
    )
