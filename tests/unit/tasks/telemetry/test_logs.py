"""Logs: JSON with the run, row and attempt of each line; text with its video; row text as data; quiet chores."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from tasks.telemetry.logs import ContextFields, PlainText, QuietChores, about, json_formatter


def logged(act) -> list[dict[str, object]]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(json_formatter())
    handler.addFilter(ContextFields())
    logger = logging.getLogger("tamis-test-logs")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        act(logger)
    finally:
        logger.removeHandler(handler)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_in_the_block_has_run_row_and_attempt_and_the_next_line_has_not():
    def act(logger):
        with about(run="r1", ordinal=7):
            with about(attempt=2):
                logger.info("judged %s", "ok")
            logger.info("released")
        logger.info("idle")

    judged, released, idle = logged(act)
    assert judged["message"] == "judged ok"
    assert (judged["run"], judged["ordinal"], judged["attempt"]) == ("r1", 7, 2)
    assert released["ordinal"] == 7
    assert "attempt" not in released
    assert "run" not in idle
    assert {"time", "level", "logger", "process", "message"} <= idle.keys()


def test_an_error_is_one_line_with_its_traceback():
    def act(logger):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logger.exception("it failed")

    (line,) = logged(act)
    assert "ValueError: two\nlines" in str(line["exc_info"])


def plain(*arguments: object, **fields: object) -> str:
    record = logging.LogRecord("tasks.pipeline", logging.INFO, "", 0, str(arguments[0]), arguments[1:], None)
    with about(**fields):
        assert PlainText().filter(record)
    return logging.Formatter("%(levelname)s %(message)s").format(record)


def test_a_text_line_names_its_video():
    assert plain("row %s: %s", 3, "ok", video="clip-1") == "INFO row 3: ok [video clip-1]"
    assert plain("idle") == "INFO idle"


@pytest.mark.parametrize("text", ["a\x1b[2J", "a\rb", "%s %d", "[red]", "a\u202eb"])
def test_row_text_in_a_text_line_is_data(text: str):
    escaped = text.encode("unicode_escape").decode()
    assert plain("failed: %s", text, video=text) == f"INFO failed: {escaped} [video {escaped}]"


def test_a_line_feed_in_row_text_begins_no_line_of_its_own():
    lines = plain("failed: %s", "x\nINFO row 4: ok").split("\n")
    assert lines == ["INFO failed: x", "    INFO row 4: ok"]


def test_row_text_in_a_traceback_is_data():
    try:
        raise ValueError("a\x1b[2J")
    except ValueError:
        record = logging.LogRecord("tasks", logging.ERROR, "", 0, "unexpected", (), sys.exc_info())
    assert PlainText().filter(record)
    text = logging.Formatter("%(message)s").format(record)
    assert "ValueError: a\\x1b[2J" in text
    assert "\x1b" not in text


def celery_line(logger: str, message: str, level: int = logging.INFO) -> bool:
    return QuietChores().filter(logging.LogRecord(logger, level, "", 0, message, (), None))


def test_lines_about_periodic_tasks_need_the_debug_level():
    received = "Task tasks.chores.top_up[1] received"
    assert not celery_line("celery.worker.strategy", received)
    assert celery_line("celery.worker.strategy", "Task tasks.download[1] received")
    assert celery_line("celery.app.trace", "Task tasks.chores.top_up[1] raised", logging.ERROR)
    logging.getLogger("celery.worker.strategy").setLevel(logging.DEBUG)
    try:
        assert celery_line("celery.worker.strategy", received)
    finally:
        logging.getLogger("celery.worker.strategy").setLevel(logging.NOTSET)
