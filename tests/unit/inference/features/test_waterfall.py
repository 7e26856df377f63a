from __future__ import annotations

import doctest
import json

from inference.features import waterfall as module
from inference.features.waterfall import chrome_trace, csv_lines, marks, waterfall
from inference.features.work_clock import Activity, Span, WorkClock

SPANS = [
    Span(Activity.DECODE, 10.0, 12.0, "video"),
    Span(Activity.FORWARD, 12.0, 13.0, "device"),
    Span(Activity.FORWARD, 13.0, 13.5, "device"),
    Span(Activity.SAVE, 13.5, 14.0, "video"),
]


def test_the_worked_examples_in_the_docstrings_hold():
    assert doctest.testmod(module).failed == 0


def test_the_marks_are_the_ends_of_their_steps_and_do_not_go_back():
    found = marks(SPANS, 10.0, 14.0)
    assert found == {"start": 0, "frame_extract": 2000, "feature_extract": 3500, "store": 4000, "end": 4000}
    assert list(found.values()) == sorted(found.values())


def test_the_bars_follow_each_other_and_fill_the_whole_time():
    lines = list(waterfall(SPANS, 10.0, 14.0))
    bars = [line[line.index("|") + 1 : -1] for line in lines]
    assert [bar.strip() for bar in bars] == ["█" * 20, "█" * 10, "█" * 5, "█" * 5]
    assert [len(bar) - len(bar.lstrip()) for bar in bars] == [0, 20, 30, 35]


def test_csv_and_chrome_trace_hold_every_span():
    lines = list(csv_lines(SPANS, 10.0))
    assert lines[0].split(",") == ["activity", "thread", "start_milliseconds", "milliseconds"]
    assert lines[1] == "decode,video,0.0,2000.0"
    assert len(lines) == 1 + len(SPANS)
    events = json.loads(json.dumps(chrome_trace(SPANS, 10.0)))["traceEvents"]
    assert [one["args"]["name"] for one in events if one["ph"] == "M"] == ["video", "device"]
    blocks = [(one["name"], one["ts"], one["dur"]) for one in events if one["ph"] == "X"]
    assert blocks[0] == ("decode", 0.0, 2e6)


def test_a_clock_gives_each_block_as_a_span_when_it_ends():
    spans, now = [], [1.0]
    clock = WorkClock(lambda: now[0], spans.append)
    with clock.measuring(Activity.READ):
        now[0] = 3.0
    assert [(span.activity, span.begin, span.end) for span in spans] == [(Activity.READ, 1.0, 3.0)]
