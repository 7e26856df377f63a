"""The processes of one node of a drill of several nodes: ``python -m tests.drill.node n1``.

They are those of `tamis up` with the drill's app, in the node's network namespace, with their own state directory,
spool and beat.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from tasks.node.supervise import Supervisor
from tests.drill.fleet import DRAIN_SECONDS, RESTART_SECONDS, node_specs
from tests.drill.world import from_environment


def main(node: str) -> None:
    """Keep the node's processes alive until SIGTERM, then end them."""
    state = from_environment().state / node
    specs = node_specs(from_environment(), node, os.environ, TAMIS_STATE_DIR=str(state))
    supervisor = Supervisor(specs, state / "log", _announce, longest_restart_seconds=RESTART_SECONDS)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor.run(DRAIN_SECONDS)


def _announce(said: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {said}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
