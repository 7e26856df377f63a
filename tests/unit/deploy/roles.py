"""Checks that tamis accepts a role's variables and command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from celery.bin.beat import beat
from celery.bin.worker import worker

from tasks.queues import Queue, gpu_queue
from tasks.settings import Settings

SECRET = "redis://:secret@broker:6379/0"  # secret files hold any URL


def settings_of(variables: Mapping[str, str], tmp_path: Path) -> Settings:
    """Parse a role's variables as its process does; secret files are in ``tmp_path``."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    given = {name: str(secret) if name.endswith("_URL_FILE") else value for name, value in variables.items()}
    return Settings.from_env(given)


def consumed(arguments: Sequence[str]) -> set[str]:
    """Return the queues of a worker's command; empty for beat. AssertionError for an option that Celery lacks."""
    command = {"worker": worker, "beat": beat}[arguments[0]]
    known = {name for option in command.params for name in option.opts}
    given = dict(word.partition("=")[::2] for word in arguments[1:])
    assert set(given) <= known, f"celery {arguments[0]} has no {set(given) - known}"
    if arguments[0] == "worker":
        assert given["--pool"] == "threads"  # the bootsteps need it
    return set(given["--queues"].split(",")) if "--queues" in given else set()


def assert_every_queue_is_served(consumers: Sequence[set[str]], node: str) -> None:
    """Check that the consumers serve exactly the queues that the fleet sends to: none unserved, none without sender."""
    assert set().union(*consumers) == {*Queue, gpu_queue(node)}
