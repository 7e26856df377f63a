"""The fault drill: real worker processes, a real broker, thousands of rows, and faults on every side.

    make drill ROWS=20000 KILLS=200 SEED=7

The same seed gives the same plan: poison rows, failing downloads, and the row counts at which workers are killed. The
order of events differs from run to run; the checked conditions do not.

Two nodes' processes run under tamis's own supervisor, with tamis's own code: only the opener of
``tasks.resources.runtime`` is set, to stores and tables that fail as planned and to a judge that compares bytes instead
of loading models (poison videos go to the real decoder pool). For a full disk each spool has its own tmpfs in a private
mount namespace, which a large file fills; where the user may not mount, that fault is left out and reported.

Input and output are tables of a MaxCompute server in the harness. Another run writes into the same output partition,
the input is rewritten in mid-run and restored, the clock of one node is ten minutes ahead, some rows hold a value that
the output cannot hold, one more run has an input that never opens, and at the end failed rows are retried. Rows are
counted through the view.

Checked: one output row for every input row, with the right outcome and its own video's digest; while it runs, that
rows = ok + failed + in flight, and no spool over its limit; at the end, that no message, lease or process is left.
``redelivery_max_s`` is the longest time from the kill of a worker until a step that it had received was begun by
another worker, or recorded, without times in which the broker was away, a worker frozen, or its role without a worker.

    make drill NODES=3

gives every node its own network; one is disconnected for a while and one loses its power (``nodes``, ``node_faults``).
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
from tests.drill.tables import OdpsTables, odps_tables
from tests.drill.world import DrillWorld, mount_spool_disks, removed_unless

if TYPE_CHECKING:
    from tests.drill.drill import Report

THREADS = 6  # TAMIS_MAX_CONCURRENT_WORKERS
MOST_NODES = 20
CUTS_PER_DRILL = 3  # a drill of several nodes lasts so many times as long as its cut


def main() -> int:
    """Run a drill and print its result; return 1 if it has failed."""
    given = _arguments()
    adopt_orphans()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return _one_host(given) if given.nodes == 1 else _several_nodes(given)


def _one_host(given: argparse.Namespace) -> int:
    may_mount = own_mounts()  # before any thread
    root = Path(tempfile.mkdtemp(prefix="tamis-drill-"))
    with odps_tables() as tables:
        world = DrillWorld(root, given.rows, given.kills, given.seed, odps_project=tables.server.project)
        return _drill_one_host(world, tables, given, may_mount=may_mount)


def _drill_one_host(world: DrillWorld, tables: OdpsTables, given: argparse.Namespace, *, may_mount: bool) -> int:
    print(
        f"drill: seed {given.seed}, {given.rows} rows, {given.kills} kills, broker {given.broker}; logs in {world.root}"
    )
    print(world.plan.summary(), flush=True)
    world.lay_out()
    tables.lay_out(world)
    has_disks = may_mount and mount_spool_disks(world)
    broker = BROKERS[given.broker]()
    broker.start()
    os.environ.update(world.environment({**broker.environment(), **tables.environment()}))
    from tests.drill.drill import run_drill  # reads the environment just set

    limits = {"seconds": given.seconds, "redelivery_seconds": given.redelivery_seconds}
    return _report_of(world, given, lambda: run_drill(world, broker, tables, has_disks=has_disks, **limits))


def _several_nodes(given: argparse.Namespace) -> int:
    names = tuple(f"n{number}" for number in range(1, given.nodes + 1))
    pace = CUTS_PER_DRILL * given.cut_seconds * THREADS / given.rows
    root = Path(tempfile.mkdtemp(prefix="tamis-drill-"))
    world = DrillWorld(root, given.rows, 0, given.seed, names, judge_seconds=pace)
    print(f"drill: seed {given.seed}, {given.rows} rows, {given.nodes} nodes; logs in {world.root}")
    print(f"  one node is disconnected for {given.cut_seconds:g} s, one is killed", flush=True)
    world.lay_out()
    try:
        with network(given.nodes) as net:
            broker = OutsideBroker(net.outside)
            broker.start()
            os.environ.update(world.environment(broker.environment()))
            os.environ["TAMIS_NODE_SILENCE_SECONDS"] = str(given.silence_seconds)
            os.environ["TAMIS_TASK_DEADLINE_SECONDS"] = "300"  # a task that waits for the ledger does not hang
            from tests.drill.nodes import run_nodes_drill  # reads the environment just set

            return _report_of(
                world,
                given,
                lambda: run_nodes_drill(world, net, broker, cut_seconds=given.cut_seconds, seconds=given.seconds),
            )
    except NetworkError as error:
        shutil.rmtree(world.root)
        print(f"drill: {error}", file=sys.stderr)
        return 2


def _report_of(world: DrillWorld, given: argparse.Namespace, run: Callable[[], Report]) -> int:
    started = time.monotonic()
    report = run()
    with removed_unless(world, [*report.problems, *(["kept"] if given.keep else [])]):
        print("\n".join(report.story if given.keep or report.problems else []))
        print("\n".join(report.lines))
        for problem in report.problems:
            print(f"WRONG  {problem}")
        if report.problems:
            print(f"seed {given.seed}: {len(report.problems)} problems; tables and logs are in {world.root}")
        print(f"took {time.monotonic() - started:.0f} s")
        print(report.last_line)
    return 1 if report.problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description="The fault drill.")
    parser.add_argument("--rows", type=int, default=2000, help="rows of the input table")
    parser.add_argument(
        "--kills", type=int, default=20, help="workers that are killed with SIGKILL; of several nodes, one whole node"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the plan")
    parser.add_argument("--broker", choices=sorted(BROKERS), default="redis")
    parser.add_argument("--nodes", type=int, default=1, help="2 or more: each in a network namespace of its own")
    parser.add_argument(
        "--cut-seconds", type=float, default=60, help="with several nodes: seconds that one of them is disconnected"
    )
    parser.add_argument(
        "--silence-seconds", type=float, default=30, help="of several nodes: TAMIS_NODE_SILENCE_SECONDS"
    )
    parser.add_argument("--seconds", type=float, default=1800, help="a drill that takes longer has failed")
    parser.add_argument(
        "--redelivery-seconds", type=float, default=10, help="longest wait of a step whose worker was killed"
    )
    parser.add_argument("--keep", action="store_true", help="keep tables and logs, and print every fault")
    given = parser.parse_args()
    if given.rows < 100 or given.kills < 0:
        parser.error("a drill takes at least 100 rows, and 0 kills")
    if not 1 <= given.nodes <= MOST_NODES or (given.nodes > 1 and given.broker != "redis"):
        parser.error(f"NODES is 1 (two nodes' processes in one network) or 2 to {MOST_NODES}, with BROKER=redis")
    return given


if __name__ == "__main__":
    sys.exit(main())
