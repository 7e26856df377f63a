"""``tamis …`` is ``celery -A tasks …``: our sub-commands are registered in Celery's own command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run Celery's command line with our app chosen."""
    from celery.bin.celery import celery

    # click parses "-A tasks" like any user's option, so `tamis --help` and `tamis worker` are Celery's own.
    celery.main(args=["-A", "tasks", *sys.argv[1:]], prog_name="tamis", auto_envvar_prefix="CELERY")
