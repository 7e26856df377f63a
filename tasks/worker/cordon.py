"""``tamis control drain``: a worker finishes what it has and takes nothing more until ``resume``, ``reload`` or a stop.

The process stays, warm and reachable, for whoever wants to look at it; ``/readyz`` says no, and its node stops saying
that it lives, so that the messages of its own queue are drained to the others.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

from celery import bootsteps
from celery.worker.control import control_command

from tasks.worker.config import wiring_of
from tasks.worker.intake import gate_channel, gate_consumer

logger = logging.getLogger(__name__)


class Cordon(bootsteps.StartStopStep):
    """Holds each new channel, so also after a reconnect, to what the operator said last."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Put the cordon around the new channel."""
        pulse = wiring_of(parent.app).pulse
        if parent.connection.transport.driver_type == "amqp":
            gate_consumer(parent.task_consumer, lambda: not pulse.is_cordoned)
            if pulse.is_cordoned:
                parent.task_consumer.cancel()
        else:
            gate_channel(parent.task_consumer.channel, lambda: not pulse.is_cordoned)


@control_command()
def drain(state: Any) -> dict[str, str]:
    """Take nothing new; finish what runs. The process stays."""
    return _switch(state, is_cordoned=True)


@control_command()
def resume(state: Any) -> dict[str, str]:
    """Take messages again after a drain."""
    return _switch(state, is_cordoned=False)


@control_command()
def reload(state: Any) -> dict[str, str]:  # noqa: ARG001 -- Celery's signature
    """Finish what runs and end; the supervisor starts a process with the settings, manifest and weights of then."""
    logger.warning("reload: draining, then ending for the supervisor to start a fresh process")
    os.kill(os.getpid(), signal.SIGTERM)
    return {"ok": "draining; a supervisor (tamis up, systemd, Kubernetes) starts a fresh process"}


def _switch(state: Any, *, is_cordoned: bool) -> dict[str, str]:
    pulse = wiring_of(state.app).pulse
    if pulse.is_cordoned is not is_cordoned:
        pulse.is_cordoned = is_cordoned
        logger.warning("drained by an operator: takes nothing new" if is_cordoned else "resumed by an operator")
        if state.consumer.connection.transport.driver_type == "amqp":
            consumer = state.consumer.task_consumer
            consumer.cancel() if is_cordoned else consumer.consume()
    return {"ok": "takes nothing new" if is_cordoned else "takes messages"}
