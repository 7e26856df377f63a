"""Probe this container's worker: exit status 0 if ``/livez`` answers 200. Imports nothing of tamis."""

from __future__ import annotations

import http.client
import sys

PORT = 9540  # as the Dockerfile sets TAMIS_METRICS_PORT; another may be given as argument
TIMEOUT_SECONDS = 4.0


def is_live(port: int) -> bool:
    """Return whether the worker answers 200; a worker that does not answer is not live."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_live(int(sys.argv[1]) if len(sys.argv) > 1 else PORT) else 1)
