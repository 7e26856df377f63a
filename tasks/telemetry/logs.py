"""Machine-readable logs: one JSON object per line, with the run, row, video and attempt of the line."""

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
    """Add these fields to every line that this thread logs in the block."""
    token = _about.set({**_about.get({}), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class ContextFields(logging.Filter):
    """Adds the fields of :func:`about` to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; keep every record."""
        for name, value in _about.get({}).items():
            setattr(record, name, value)
        return True


def json_formatter() -> logging.Formatter:
    """Return a formatter of ``{"time", "level", "logger", "process", "message", "run", "ordinal", "video", …}``."""
    return JsonFormatter(
        ["asctime", "levelname", "name", "process", "message"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )


def install() -> None:
    """Set up our format after Celery has set up the log."""
    signals.after_setup_logger.connect(_set_up)
    signals.after_setup_task_logger.connect(_set_up)


def _set_up(logger: logging.Logger, **_: object) -> None:
    if current().telemetry.log_format != "json":
        return
    for handler in logger.handlers:
        handler.setFormatter(json_formatter())
        handler.addFilter(ContextFields())
