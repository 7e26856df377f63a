"""The bootsteps' configuration, without a worker."""

from __future__ import annotations

import subprocess
import sys

import pytest
from celery import Celery

from tasks.broker.redis import SWEEP_SECONDS, redis_transport_options
from tasks.worker import WorkerConfig, install
from tasks.worker.config import wiring_of


def _config() -> WorkerConfig:
    return WorkerConfig(visibility_timeout_seconds=5.0, hard_deadline_seconds=60.0)


def test_the_configuration_is_made_once_and_only_when_a_worker_reads_it() -> None:
    asked: list[WorkerConfig] = []

    def make() -> WorkerConfig:
        asked.append(_config())
        return asked[-1]

    app = Celery("probe", set_as_current=False)
    install(app, make)
    assert asked == []
    assert wiring_of(app).config is wiring_of(app).config
    assert len(asked) == 1


@pytest.mark.parametrize("limit", ["visibility_timeout_seconds", "stall_seconds", "frozen_seconds"])
def test_a_limit_that_is_not_positive_is_refused_by_name(limit: str) -> None:
    limits = {"visibility_timeout_seconds": 5.0, limit: 0.0}
    with pytest.raises(ValueError, match=rf"{limit} is 0\.0: it must be more than 0"):
        WorkerConfig(hard_deadline_seconds=60.0, **limits)


def test_lapsed_messages_are_restored_every_second_and_batch_publishing_stays_possible() -> None:
    options = redis_transport_options(60.0, "tamis:")
    assert options["visibility_timeout"] == 60.0
    assert (options["unacked_restore_interval"], options["unacked_restore_throttle"]) == (SWEEP_SECONDS, 1)
    assert "retry_on_timeout" not in options


def test_celeryconfig_gets_the_transport_options_without_importing_celery() -> None:
    source = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); assert not {'celery', 'kombu', 'redis'} & set(sys.modules)"
    )
    module = sys.modules[redis_transport_options.__module__].__file__
    subprocess.run([sys.executable, "-c", source, str(module)], check=True)
