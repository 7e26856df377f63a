"""JSON logs: one object per line, with the run, row and attempt of the line."""

from __future__ import annotations

import io
import json
import logging

from tasks.telemetry.logs import ContextFields, about, json_formatter


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
