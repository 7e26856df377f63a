"""HTTP GET that reports a refused connection as status 0."""

from __future__ import annotations

import urllib.error
import urllib.request


def get(url: str, **headers: str) -> tuple[int, str]:
    """Return status and body; status 0 if no server listens."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""
