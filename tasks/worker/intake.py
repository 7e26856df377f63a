"""Control of a worker's message intake: the back-pressure gate, and the operator's cordon (``tamis control drain``).

While gate or cordon is closed, the worker does not consume. Nothing is blocked or dropped, and the process stays warm
and answers remote control.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from shutil import disk_usage
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.exceptions import ImproperlyConfigured
from celery.worker.control import control_command

from storage.errors import Unavailable
from tasks.broker.queue_depth import waiting_messages
from tasks.broker.side_channel import SideChannel
from tasks.queues import gpu_queue
from tasks.settings import Settings
from tasks.worker.config import wiring_of
from tasks.worker.ticker import start_ticker

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger(__name__)

GATE_SECONDS = 0.25  # between checks of the gate
ROOM_SECONDS = 0.25  # between checks of spool and queue


def check_queues(consumed: frozenset[str], gated: frozenset[str]) -> bool:
    """Return whether a worker of ``consumed`` queues is gated. ImproperlyConfigured when only some queues are.

    A gate closes the whole channel: it would also stop the queue whose tasks make room, and so never open again.
    """
    others = consumed - gated
    if not consumed & gated:
        return False
    if others:
        raise ImproperlyConfigured(
            f"one worker consumes {sorted(consumed & gated)}, which wait for room, together with {sorted(others)}, "
            "which may have to make that room: start one worker process for each group (celery worker -Q …)"
        )
    return True


def gate_channel(channel: Any, is_open: Callable[[], bool]) -> None:
    """Let ``channel`` ask for messages only while ``is_open()``.

    The reply to a BRPOP that was sent before may hold a message that Redis no longer has. The gate lets it in: it would
    otherwise stay in the socket until the gate opens, and be lost if the process dies.
    ``Channel._in_poll`` is private to kombu (pinned to 5.7, covered by tests/fleet/test_worker_gate.py).
    """
    has_credit = channel.qos.can_consume

    def can_consume() -> bool:
        may_ask = is_open() or bool(getattr(channel, "_in_poll", None))
        return may_ask and bool(has_credit())

    channel.qos.can_consume = can_consume


def gate_consumer(consumer: Any, is_open: Callable[[], bool]) -> None:
    """Let ``consumer`` subscribe to its queues only while ``is_open()``: for RabbitMQ, which pushes messages.

    Messages pushed before are run: they are no more than the worker has threads. Celery subscribes at every connect,
    so ``consume`` is gated as well.
    """
    subscribe = consumer.consume

    def consume(no_ack: bool | None = None) -> None:
        if is_open():
            subscribe(no_ack=no_ack)

    consumer.consume = consume


class Gate(bootsteps.StartStopStep):
    """Checks ``has_room`` on the event loop and gates each new channel, so after a reconnect too."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.wiring = wiring_of(parent.app)
        self.timer_entry: Any = None

    def include_if(self, parent: Any) -> bool:
        """Return whether the worker consumes gated queues."""
        if self.wiring.config.has_room is None:
            return False
        return check_queues(frozenset(parent.app.amqp.queues.consume_from), self.wiring.config.gated_queues)

    def start(self, parent: Any) -> None:
        """Gate the new channel."""
        self._update()
        consumer, pulse = parent.task_consumer, self.wiring.pulse
        if parent.connection.transport.driver_type == "amqp":
            gate_consumer(consumer, lambda: pulse.is_gate_open)
        else:
            gate_channel(consumer.channel, lambda: pulse.is_gate_open)
        self.timer_entry = parent.timer.call_repeatedly(GATE_SECONDS, self._apply, (parent,))

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop checking: the channel is about to close."""
        if self.timer_entry is not None:
            self.timer_entry.cancel()

    def _apply(self, parent: Any) -> None:
        if not self._update() or parent.connection.transport.driver_type != "amqp":
            return
        consumer = parent.task_consumer
        try:
            consumer.consume() if self.wiring.pulse.is_gate_open else consumer.cancel()
        except parent.connection_errors as error:  # the event loop gets the same error and connects again
            logger.debug("the connection was lost while consuming was being switched: %s", error)

    def _update(self) -> bool:
        """Open or close the gate by ``has_room``; return whether that changed it."""
        is_open = self.wiring.config.has_room is None or bool(self.wiring.config.has_room())
        is_changed = is_open is not self.wiring.pulse.is_gate_open
        if is_changed:
            self.wiring.pulse.is_gate_open = is_open
            logger.info("there is room again: consuming" if is_open else "no room: consuming stops until there is")
        return is_changed


# ── room for another download ─────────────────────────────────────────────────────────────────────────────────────────


def room_checker(app: Celery, settings: Settings) -> Callable[[], bool]:
    """Return a function that says whether the last check found room; its first call starts the checks, on a thread.

    There is room while the spool can take one more typical video and the queue of the node's GPU workers is short. No
    answer from spool or broker counts as no room: waiting loses nothing, a full disk might.
    """
    found: list[bool] = []

    def has_room() -> bool:
        if not found:
            found.append(False)
            start_ticker("back-pressure", ROOM_SECONDS, check)
        return found[0]

    channel = SideChannel(app)
    queue, most_waiting = gpu_queue(settings.node.name), settings.flow.max_waiting_videos * settings.node.gpu_workers

    def check() -> None:
        is_short: list[bool] = []
        channel.attempt(
            lambda broker: is_short.append(waiting_messages(broker, [queue]) < most_waiting), "back-pressure"
        )
        found[0] = is_short == [True] and _spool_has_room(settings.spool.typical_video_bytes)

    return has_room


def _spool_has_room(size_bytes: int) -> bool:
    from tasks.resources import runtime  # here, because every command imports this module

    opened = runtime.opened()
    if opened is None:
        return False
    try:
        # The disk may be smaller than the spool's limit, or hold other files: stop before it is full.
        return opened.spool.has_room(size_bytes) and disk_usage(opened.settings.spool_root).free > size_bytes
    except (Unavailable, OSError) as error:
        logger.warning("no downloads while the spool does not answer: %s", error)
        return False


# ── the operator's cordon ─────────────────────────────────────────────────────────────────────────────────────────────


class Cordon(bootsteps.StartStopStep):
    """Applies the operator's last command to each new channel, so after a reconnect too."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Gate the new channel by the cordon."""
        pulse = wiring_of(parent.app).pulse
        if parent.connection.transport.driver_type == "amqp":
            gate_consumer(parent.task_consumer, lambda: not pulse.is_cordoned)
            if pulse.is_cordoned:
                parent.task_consumer.cancel()
        else:
            gate_channel(parent.task_consumer.channel, lambda: not pulse.is_cordoned)


@control_command(name="drain")
def cordon(state: Any) -> dict[str, str]:
    """Finish running tasks and take no new messages. The process stays."""
    return _switch(state, is_cordoned=True)


@control_command(name="resume")
def uncordon(state: Any) -> dict[str, str]:
    """Take messages again after ``drain``."""
    return _switch(state, is_cordoned=False)


@control_command()
def reload(state: Any) -> dict[str, str]:  # noqa: ARG001 -- Celery's signature
    """Finish running tasks and end; the supervisor starts a process that reads settings, manifest and weights anew."""
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
