"""The way of one video in time: the older tool's latency marks, a waterfall, CSV, and Chrome's trace format. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference.features.work_clock import Activity, Span

BAR_COLUMNS = 40


def marks(spans: Sequence[Span], began: float, ended: float) -> dict[str, float]:
    """Return the older tool's marks in milliseconds after the start.

    ``frame_extract`` is the end of decoding, ``feature_extract`` of the last forward pass, ``store`` of saving; a step
    that did not happen has the mark before it.

    >>> marks([Span(Activity.DECODE, 1.0, 3.0, "a"), Span(Activity.FORWARD, 3.0, 4.5, "b")], 1.0, 5.0)
    {'start': 0.0, 'frame_extract': 2000.0, 'feature_extract': 3500.0, 'store': 3500.0, 'end': 4000.0}
    """
    found = {"start": 0.0}
    previous = began
    for mark, activity in (
        ("frame_extract", Activity.DECODE),
        ("feature_extract", Activity.FORWARD),
        ("store", Activity.SAVE),
    ):
        previous = max([previous, *(span.end for span in spans if span.activity is activity)])
        found[mark] = _milliseconds(previous - began)
    return {**found, "end": _milliseconds(ended - began)}


def waterfall(spans: Sequence[Span], began: float, ended: float) -> Iterator[str]:
    """Yield a line for each span, in the order of their starts: name, start and length in milliseconds, a bar."""
    whole = max(ended - began, 1e-9)
    for span in sorted(spans, key=lambda span: (span.begin, span.end)):
        first = min(BAR_COLUMNS - 1, int((span.begin - began) / whole * BAR_COLUMNS))
        length = max(1, min(BAR_COLUMNS - first, round((span.end - span.begin) / whole * BAR_COLUMNS)))
        bar = f"{' ' * first}{'█' * length}".ljust(BAR_COLUMNS)
        start, lasted = _milliseconds(span.begin - began), _milliseconds(span.end - span.begin)
        yield f"{span.activity.value:<9} {start:>10.1f} ms  +{lasted:>9.1f} ms  |{bar}|"


def csv_lines(spans: Sequence[Span], began: float) -> Iterator[str]:
    """Yield a head and a line for each span; times in milliseconds."""
    yield "activity,thread,start_milliseconds,milliseconds"
    for span in sorted(spans, key=lambda span: span.begin):
        start, lasted = _milliseconds(span.begin - began), _milliseconds(span.end - span.begin)
        yield f"{span.activity.value},{span.thread},{start},{lasted}"


def chrome_trace(spans: Sequence[Span], began: float) -> dict[str, object]:
    """Return the spans as complete events of Chrome's trace format, which Perfetto opens too; times in microseconds."""
    threads = {name: number for number, name in enumerate(dict.fromkeys(span.thread for span in spans), 1)}
    names = [
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": name}}
        for name, number in threads.items()
    ]
    events = [
        {
            "name": span.activity.value,
            "ph": "X",
            "pid": 1,
            "tid": threads[span.thread],
            "ts": round((span.begin - began) * 1e6, 1),
            "dur": round((span.end - span.begin) * 1e6, 1),
        }
        for span in spans
    ]
    return {"traceEvents": [*names, *events]}


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
