"""Questions to all workers, over Celery's remote control. A broker that fails gives no answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

if TYPE_CHECKING:
    from celery import Celery


def ask_workers(app: Celery, question: str, seconds: float) -> dict[str, Any]:
    """Return worker -> answer of the workers that answer within ``seconds``; empty if the broker cannot be reached.

    The connection is this call's own: one that broke is not used again.
    """
    with app.connection_for_write() as connection:
        errors = (*connection.connection_errors, *connection.channel_errors)
        broken: tuple[type[BaseException], ...] = (OperationalError, OSError, *errors)
        try:
            replies = app.control.broadcast(question, reply=True, timeout=seconds, connection=connection)
        except broken:
            return {}
    return {name: answer for reply in replies or [] for name, answer in reply.items()}
