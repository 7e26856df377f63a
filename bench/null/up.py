"""``python -m bench.null.up``: `tamis up` with workers whose judge takes no time."""

from __future__ import annotations

import sys

import tasks.node.processes
from tasks.cli.up import up

if __name__ == "__main__":
    tasks.node.processes.TAMIS = (sys.executable, "-P", "-m", "tasks", "-A", "bench.null.app")  # type: ignore[assignment]  # longer
    up()
