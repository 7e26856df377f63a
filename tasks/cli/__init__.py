"""``tamis …`` is ``celery -A tasks …``: our sub-commands are registered in Celery's own command line."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run Celery's command line with our app chosen."""
    from celery.bin.celery import celery

    # Celery puts the working directory first on the path unless it is there already: at the end, it hides no package.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    # click parses "-A tasks" like any user's option, so `tamis --help` and `tamis worker` are Celery's own.
    celery.main(args=["-A", "tasks", *sys.argv[1:]], prog_name="tamis", auto_envvar_prefix="CELERY")
