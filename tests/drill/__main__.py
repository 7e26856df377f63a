"""The fault drill: real worker processes, a real broker, thousands of rows, and faults on every side.

    make drill ROWS=20000 KILLS=200 SEED=7

The same seed gives the same plan: which rows are poison, which downloads fail how, who is killed after how many rows.
What the scheduler makes of it differs from run to run; what must hold does not.

Two nodes' processes run under tamis's own supervisor, with tamis's own code: only the opener of
``tasks.resources.runtime`` is set, to stores and tables that fail as planned and to a judge that compares bytes instead
of loading models (poison videos go to the real decoder pool). A disk is full: each spool stands on a tmpfs of its own,
in a mount namespace that ends with the drill, and ballast takes its last byte; where the user may not mount, that one
fault is left out, and the drill says so.

Checked: one output row for every input row, with the right outcome and its own video's digest; while it runs, that
rows = ok + failed + in flight, and no spool over its limit; at the end, that no message, lease or process is left.
``redelivery_max_s`` is the longest time from the kill of a worker until a step that it had received was begun by
somebody else, or recorded, unless the broker was away, a worker frozen, or none of its role at work meanwhile.

    make drill NODES=3

gives every node a network of its own; one is cut off for a while and one loses its power (``nodes``, ``storm``).
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.drill.brokers import BROKERS
from tests.drill.enclosure import adopt_orphans, own_mounts
from tests.drill.hosts import OutsideBroker
from tests.drill.network import NetworkError, network
from tests.drill.world import World, mount_spool_disks, removed_unless

if TYPE_CHECKING:
    from tests.drill.drill import Report

THREADS = 6  # TAMIS_MAX_CONCURRENT_WORKERS
MOST_NODES = 20
LASTS_CUTS = 3  # a drill of several nodes is to last so many times as long as its cut


def main() -> int:
    """Lay out a world, run the drill in it, and say how it went; 1 if anything is wrong."""
    told = _arguments()
    adopt_orphans()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return _one_host(told) if told.nodes == 1 else _several_nodes(told)


def _one_host(told: argparse.Namespace) -> int:
    may_mount = own_mounts()  # before any thread
    world = World(Path(tempfile.mkdtemp(prefix="tamis-drill-")), told.rows, told.kills, told.seed)
    print(f"drill: seed {told.seed}, {told.rows} rows, {told.kills} kills, broker {told.broker}; logs in {world.root}")
    print(world.plan.summary(), flush=True)
    world.lay_out()
    has_disks = may_mount and mount_spool_disks(world)
    broker = BROKERS[told.broker]()
    broker.start()
    os.environ.update(world.environment(broker.environment()))
    from tests.drill.drill import run_drill  # reads the environment just set

    return _told(world, told, lambda: run_drill(world, broker, has_disks=has_disks, seconds=told.seconds))


def _several_nodes(told: argparse.Namespace) -> int:
    names = tuple(f"n{number}" for number in range(1, told.nodes + 1))
    pace = LASTS_CUTS * told.cut_seconds * THREADS / told.rows  # one node alone for a while, then two
    root = Path(tempfile.mkdtemp(prefix="tamis-drill-"))
    world = World(root, told.rows, 0, told.seed, names, judge_seconds=pace)
    print(f"drill: seed {told.seed}, {told.rows} rows, {told.nodes} nodes, one cut off for {told.cut_seconds:g} s, one")
    print(f"  killed whole; logs in {world.root}", flush=True)
    world.lay_out()
    try:
        with network(told.nodes) as net:
            broker = OutsideBroker(net.outside)
            broker.start()
            os.environ.update(world.environment(broker.environment()))
            os.environ["TAMIS_NODE_SILENCE_SECONDS"] = str(told.silence_seconds)
            os.environ["TAMIS_BEAT_SILENCE_SECONDS"] = str(max(2, round(told.silence_seconds * 2 / 3)))  # as by default
            os.environ["TAMIS_TASK_DEADLINE_SECONDS"] = "300"  # who waits for the ledger does not hang
            from tests.drill.nodes import run_nodes_drill  # reads the environment just set

            return _told(
                world,
                told,
                lambda: run_nodes_drill(world, net, broker, cut_seconds=told.cut_seconds, seconds=told.seconds),
            )
    except NetworkError as error:
        shutil.rmtree(world.root)
        print(f"drill: {error}", file=sys.stderr)
        return 2


def _told(world: World, told: argparse.Namespace, run: Callable[[], Report]) -> int:
    started = time.monotonic()
    report = run()
    with removed_unless(world, [*report.problems, *(["kept"] if told.keep else [])]):
        print("\n".join(report.story if told.keep or report.problems else []))
        print("\n".join(report.lines))
        for problem in report.problems:
            print(f"WRONG  {problem}")
        if report.problems:
            print(f"seed {told.seed}: {len(report.problems)} things are wrong; everything is in {world.root}")
        print(f"took {time.monotonic() - started:.0f} s")
        print(report.last_line)
    return 1 if report.problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description="The fault drill.")
    parser.add_argument("--rows", type=int, default=2000, help="rows of the input table")
    parser.add_argument(
        "--kills", type=int, default=20, help="workers that are killed with SIGKILL; of several nodes, one whole node"
    )
    parser.add_argument("--seed", type=int, default=1, help="draws everything that goes wrong")
    parser.add_argument("--broker", choices=sorted(BROKERS), default="redis")
    parser.add_argument("--nodes", type=int, default=1, help="2 or more: each in a network namespace of its own")
    parser.add_argument("--cut-seconds", type=float, default=60, help="how long one of several nodes is cut off")
    parser.add_argument(
        "--silence-seconds", type=float, default=30, help="of several nodes: TAMIS_NODE_SILENCE_SECONDS"
    )
    parser.add_argument("--seconds", type=float, default=1800, help="a drill that takes longer has failed")
    parser.add_argument("--keep", action="store_true", help="keep tables and logs, and tell the whole story")
    told = parser.parse_args()
    if told.rows < 100 or told.kills < 0:
        parser.error("a drill takes at least 100 rows, and 0 kills")
    if not 1 <= told.nodes <= MOST_NODES or (told.nodes > 1 and told.broker != "redis"):
        parser.error(f"NODES is 1 (two nodes' processes in one network) or 2 to {MOST_NODES}, with BROKER=redis")
    return told


if __name__ == "__main__":
    sys.exit(main())
