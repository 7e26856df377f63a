"""When a worker takes messages: the gate of back-pressure, and the operator's drain.

While a gate is closed the worker stops consuming; nothing is blocked and nothing is dropped. The process stays warm and
reachable.
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
from tasks.worker.config import WorkerConfig, wiring_of
from tasks.worker.ticker import start_ticker

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25


def check_queues(consumed: frozenset[str], gated: frozenset[str]) -> bool:
    """Return whether a worker of ``consumed`` queues is gated. ImproperlyConfigured where only some of them are.

    The gate is the channel's: it would also stop the queue whose tasks make room, and so never open again.
    """
    others = consumed - gated
    if not consumed & gated:
        return False
    if others:
        raise ImproperlyConfigured(
            f"one worker consumes {sorted(consumed & gated)}, which wait for room, together with {sorted(others)}, "
            "which may have to make it: start one worker process for each group (celery worker -Q …)"
        )
    return True


def gate_channel(channel: Any, is_open: Callable[[], bool]) -> None:
    """Let ``channel`` ask for messages only while ``is_open()``.

    A BRPOP already sent may be answered with a message, and Redis no longer has it then: the gate lets that one
    in, or it would lie in the socket until the gate opens, and be lost if the process dies.
    ``Channel._in_poll`` is private to kombu (pinned to 5.7, covered by tests/fleet/test_worker_gate.py).
    """
    has_credit = channel.qos.can_consume

    def can_consume() -> bool:
        may_ask = is_open() or bool(getattr(channel, "_in_poll", None))
        return may_ask and bool(has_credit())

    channel.qos.can_consume = can_consume


def gate_consumer(consumer: Any, is_open: Callable[[], bool]) -> None:
    """Let ``consumer`` subscribe to its queues only while ``is_open()``: for brokers that push, RabbitMQ.

    What was pushed before is run: it is no more than the worker has threads. Celery itself subscribes at every
    connect, hence the gate on ``consume`` as well.
    """
    subscribe = consumer.consume

    def consume(no_ack: bool | None = None) -> None:
        if is_open():
            subscribe(no_ack=no_ack)

    consumer.consume = consume


class Gate(bootsteps.StartStopStep):
    """Watches ``is_room`` on the event loop and gates each new channel, so also after a reconnect."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.wiring = wiring_of(parent.app)
        self.timer_entry: Any = None

    @property
    def config(self) -> WorkerConfig:
        """The worker's configuration."""
        return self.wiring.config

    def include_if(self, parent: Any) -> bool:
        """Only for workers of gated queues."""
        if self.config.is_room is None:
            return False
        return check_queues(frozenset(parent.app.amqp.queues.consume_from), self.config.gated_queues)

    def start(self, parent: Any) -> None:
        """Gate the new channel."""
        self._look()
        consumer, pulse = parent.task_consumer, self.wiring.pulse
        if parent.connection.transport.driver_type == "amqp":
            gate_consumer(consumer, lambda: pulse.is_gate_open)
        else:
            gate_channel(consumer.channel, lambda: pulse.is_gate_open)
        self.timer_entry = parent.timer.call_repeatedly(POLL_SECONDS, self._follow, (parent,))

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop watching; the channel is about to go."""
        if self.timer_entry is not None:
            self.timer_entry.cancel()

    def _follow(self, parent: Any) -> None:
        if not self._look() or parent.connection.transport.driver_type != "amqp":
            return
        consumer = parent.task_consumer
        try:
            consumer.consume() if self.wiring.pulse.is_gate_open else consumer.cancel()
        except parent.connection_errors as error:  # the event loop finds the same, and connects again
            logger.debug("the connection was lost while consuming was being switched: %s", error)

    def _look(self) -> bool:
        """Ask whether there is room; return whether the answer is a new one."""
        is_open = self.config.is_room is None or bool(self.config.is_room())
        is_new = is_open is not self.wiring.pulse.is_gate_open
        if is_new:
            self.wiring.pulse.is_gate_open = is_open
            logger.info("there is room again: consuming" if is_open else "no room: consuming stops until there is")
        return is_new


# ── room for another download ─────────────────────────────────────────────────────────────────────────────────────────


LOOK_SECONDS = 0.25


def room_watcher(app: Celery, settings: Settings) -> Callable[[], bool]:
    """Return a function that says whether there was room at the last look; its first call starts the looking.

    There is room while the spool can take one more typical video and the node's GPU workers keep up. No answer from
    the spool or the broker counts as no room: waiting loses nothing, a full disk might.
    """
    seen: list[bool] = []

    def is_room() -> bool:
        if not seen:
            seen.append(False)
            start_ticker("back-pressure", LOOK_SECONDS, look)
        return seen[0]

    channel = SideChannel(app)
    queue, most_waiting = gpu_queue(settings.node.name), settings.flow.max_waiting_videos * settings.node.gpu_workers

    def look() -> None:
        keeps_up: list[bool] = []
        channel.attempt(
            lambda broker: keeps_up.append(waiting_messages(broker, [queue]) < most_waiting), "back-pressure"
        )
        seen[0] = keeps_up == [True] and _spool_has_room(settings.spool.typical_video_bytes)

    return is_room


def _spool_has_room(size_bytes: int) -> bool:
    from tasks.resources import runtime  # not for every command that builds the app

    opened = runtime.opened()
    if opened is None:
        return False
    try:
        # The disk may be smaller than the spool's limit, or fill up with other things: stop before it is full.
        return opened.spool.has_room(size_bytes) and disk_usage(opened.settings.spool_root).free > size_bytes
    except (Unavailable, OSError) as error:
        logger.warning("no downloads while the spool does not answer: %s", error)
        return False


# ── drained by an operator ────────────────────────────────────────────────────────────────────────────────────────────


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
