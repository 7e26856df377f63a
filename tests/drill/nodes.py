"""The drill of several nodes: one is cut off and comes back, one loses its power. Imported in a world's environment."""

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
from tests.drill.diary import read_diaries
from tests.drill.drill import LOOK_SECONDS, START_SECONDS, Report, insist, settle, wait_for
from tests.drill.enclosure import descendants
from tests.drill.hosts import Hosts, OutsideBroker
from tests.drill.judging import MANIFEST
from tests.drill.network import Network
from tests.drill.reckoning import reckon
from tests.drill.redelivery import redeliveries
from tests.drill.storm import Storm
from tests.drill.watch import PROBLEMS, Watch
from tests.drill.world import World

PROBE_SECONDS = 45.0
"""A worker that is cut off must not look hung: a probe that allows 60 s would have it killed, with its models."""
BACK_LIMIT_SECONDS = 30.0
"""From the return of a node's network until all its workers work again."""
RESCUE_SLACK_SECONDS = 15.0
"""On top of the node's silence, or its beat's if that is longer: what its workers held lapses, chores come round."""


def run_nodes_drill(
    world: World, network: Network, broker: OutsideBroker, *, cut_seconds: float, seconds: float
) -> Report:
    """Run it to the end, whatever happens; nothing is left running."""
    request = prepare(world.tables, world.outputs, frozenset(["vfx_enable"]), load_manifest(MANIFEST))
    hosts = Hosts(world, network)
    cut_node, dead_node = random.Random(f"nodes {world.seed}").sample(network.nodes, 2)
    with closing(ledger_client(current())) as client:
        ledger = Ledger(client)
        watch = Watch(world, ledger, request.spec.run_id)
        storm = Storm(hosts, broker, watch, cut_node, dead_node, cut_seconds)
        complete_seconds = 0.0
        hosts.start()
        try:
            if wait_for(hosts.is_up, START_SECONDS):
                started = time.monotonic()
                insist(partial(submit, request, current().flow.shard_rows, ledger))
                _weather(storm, watch, started + seconds)
                complete_seconds = time.monotonic() - started
                living = [node for node in network.nodes if node != dead_node]
                settle(living, broker.unfinished, Deferred(client), watch)
            else:
                watch.expect(False, f"not all nodes' workers were up within {START_SECONDS:g} s")
        finally:
            storm.close()
            watch.problems += hosts.stop()
    broker.stop()
    left = {pid: said for pid, said in descendants().items() if any(pid in network.pids(n) for n in network.nodes)}
    watch.problems += [f"left behind: pid {pid}: {command}" for pid, command in left.items()]
    return _report(world, storm, watch, complete_seconds)


def _weather(storm: Storm, watch: Watch, deadline: float) -> None:
    """Go on until every row is written and everything has happened."""
    while not (watch.is_complete and storm.is_over):
        watch.look()
        storm.step()
        if time.monotonic() > deadline:
            watch.expect(False, f"not done in time: {watch.done_rows} rows; {storm.story}")
            return
        if watch.is_complete and not storm.is_over:
            watch.expect(False, f"the run ended before the storm did: {storm.story}")
            return
        time.sleep(LOOK_SECONDS)


def _report(world: World, storm: Storm, watch: Watch, complete_seconds: float) -> Report:
    found = reckon(world)
    slow = redeliveries(read_diaries(world.diaries), storm.kills, [], [], {})
    slowest = slow[0].seconds if slow else 0.0
    rescue_limit = (
        max(current().delivery.node_silence_seconds, current().ingest.beat_silence_seconds * 1.2) + RESCUE_SLACK_SECONDS
    )
    back = storm.back_seconds
    for one in storm.stranded.values():
        watch.expect(one.seconds <= rescue_limit, f"messages waited {one.seconds:.1f} s for {one.node}, which was lost")
    watch.expect(back is None or back <= BACK_LIMIT_SECONDS, f"{storm.cut_node} was back only after {back} s")
    silent = storm.most_silent_seconds
    watch.expect(silent <= PROBE_SECONDS, f"a worker of {storm.cut_node} looked hung for {silent:.1f} s while cut off")
    problems = [*watch.problems, *world.complaints(), *found.differences[:PROBLEMS]]
    problems += [f"rows lost {found.lost}, twice {found.twice}"] if found.lost or found.twice else []
    rescued = sum(one.messages for one in storm.stranded.values())
    rescue_seconds = max((one.seconds for one in storm.stranded.values()), default=0.0)
    return Report(
        problems=problems,
        story=storm.story,
        lines=[
            f"  cut off   {storm.cut_node} for {storm.cut_seconds:g} s; its health files at most {silent:.1f} s old",
            f"  no power  {storm.dead_node}",
            *(f"  stranded  {one.messages} in gpu.{n}, for {one.seconds:.1f} s" for n, one in storm.stranded.items()),
            f"  outcomes  {dict(found.outcomes)}",
            f"  redelivered {len(slow)} interrupted steps",
        ],
        last_line=(
            f"drill: rows={world.rows} kills={len(storm.kills)} faults={world.spent_marks('store-') + 2} "
            f"lost={found.lost} twice={found.twice} redelivery_max_s={slowest:.1f} nodes={len(world.nodes)} cuts=1 "
            f"rescued={rescued} rescue_max_s={rescue_seconds:.1f} back_s={-1 if back is None else round(back, 1)} "
            f"complete_s={complete_seconds:.1f}"
        ),
    )
