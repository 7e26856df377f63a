"""A program that starts an embedded broker and waits to be killed: ``python embedding.py STATE_DIR``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tasks.node.embedded import EmbeddedServer

if __name__ == "__main__":
    broker = EmbeddedServer.start(Path(sys.argv[1]))
    sys.stdout.write(f"{broker.pid}\n")
    sys.stdout.flush()
    signal.pause()
