"""Logs a machine can read: one JSON object per line, with the run, row, video and attempt that a line is about."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from celery import signals
from pythonjsonlogger.json import JsonFormatter

from tasks.settings import current

_about: ContextVar[dict[str, object]] = ContextVar("about")


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Name what every line logged in the block, by this thread, is about."""
    token = _about.set({**_about.get({}), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class Row(logging.Filter):
    """Adds what the line is about, and the Celery task's id where there is one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, with its fields."""
        for name, value in _about.get({}).items():
            setattr(record, name, value)
        return True


def json_formatter() -> logging.Formatter:
    """``{"time", "level", "logger", "process", "message", run, ordinal, video, attempt, …}``; UTC, milliseconds."""
    return JsonFormatter(
        ["asctime", "levelname", "name", "process", "message"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )


def install() -> None:
    """Have Celery's own set-up of the log followed by ours."""
    signals.after_setup_logger.connect(_set_up)
    signals.after_setup_task_logger.connect(_set_up)


def _set_up(logger: logging.Logger, **_: object) -> None:
    if current().telemetry.log_format != "json":
        return
    for handler in logger.handlers:
        handler.setFormatter(json_formatter())
        handler.addFilter(Row())
