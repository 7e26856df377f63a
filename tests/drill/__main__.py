"""The fault drill: real worker processes, a real broker, thousands of rows, and faults on every side.

    make drill ROWS=20000 KILLS=200 SEED=7

The same seed gives the same plan: which rows are poison, which downloads fail how, who is killed after how many rows.
What the scheduler makes of it differs from run to run; what must hold does not.

Two nodes' processes run under tamis's own supervisor, with tamis's own code: only ``tasks.runtime.opener`` is set, to
stores and tables that fail as planned and to a judge that compares bytes instead of loading models (poison videos go
to the real decoder pool). A disk is full: each spool stands on a tmpfs of its own, in a mount namespace that ends with
the drill, and ballast takes its last byte; where the user may not mount, that one fault is left out, and it says so.

Checked: one output row for every input row, with the right outcome and its own video's digest; while it runs, that
rows = ok + failed + in flight, and no spool over its limit; at the end, that no message, lease or process is left.
``redelivery_max_s`` is the longest time from the kill of a worker until a step that it had received was begun by
somebody else, or recorded, unless the broker was away or a worker frozen meanwhile.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.drill.brokers import BROKERS
from tests.drill.enclosure import adopt_orphans, own_mounts
from tests.drill.world import World, mount_spool_disks, removed_unless


def main() -> int:
    """Lay out a world, run the drill in it, and say how it went; 1 if anything is wrong."""
    told = _arguments()
    adopt_orphans()
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

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    report = run_drill(world, broker, has_disks=has_disks, seconds=told.seconds)
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
    parser.add_argument("--kills", type=int, default=20, help="workers that are killed with SIGKILL")
    parser.add_argument("--seed", type=int, default=1, help="draws everything that goes wrong")
    parser.add_argument("--broker", choices=sorted(BROKERS), default="redis")
    parser.add_argument("--seconds", type=float, default=1800, help="a drill that takes longer has failed")
    parser.add_argument("--keep", action="store_true", help="keep tables and logs, and tell the whole story")
    told = parser.parse_args()
    if told.rows < 100 or told.kills < 0:
        parser.error("a drill takes at least 100 rows, and 0 kills")
    return told


if __name__ == "__main__":
    sys.exit(main())
