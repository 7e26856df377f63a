"""Logs: the video, run, row and attempt of each line, as text or as one JSON object per line.

Texts in a line are data: control characters in them are shown as escapes, and further lines are indented, so that no
row can forge a line or control a terminal.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from celery import signals
from pythonjsonlogger.json import JsonFormatter

from tasks.settings import current
from tasks.telemetry.printable import printable

TASK_LOGGERS = ("celery.worker.strategy", "celery.app.trace", "celery.beat")  # a line for every message
CHORES = "tasks.chores."

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


class PlainText(logging.Filter):
    """Makes the message safe to print, and ends it with the video that it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the message by its printable text, once for all handlers; keep every record."""
        if hasattr(record, "is_plain"):
            return True
        record.is_plain = True
        text = "\n    ".join(printable(line) for line in record.getMessage().split("\n"))
        if record.exc_info:  # formatted here, so that the handler's formatter takes this text
            traceback = logging.Formatter().formatException(record.exc_info)
            record.exc_text = "\n".join(map(printable, traceback.split("\n")))
        video = _about.get({}).get("video")
        record.msg, record.args = (f"{text} [video {printable(video)}]" if video is not None else text), ()
        return True


class QuietChores(logging.Filter):
    """Lowers Celery's lines about periodic tasks, several in ten seconds, to ``DEBUG``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop such a line unless the logger's level is ``DEBUG``."""
        if record.name not in TASK_LOGGERS or record.levelno > logging.INFO or CHORES not in record.getMessage():
            return True
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


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
    is_json = current().telemetry.log_format == "json"
    for handler in logger.handlers:
        handler.addFilter(QuietChores())
        handler.addFilter(ContextFields() if is_json else PlainText())
        if is_json:
            handler.setFormatter(json_formatter())
