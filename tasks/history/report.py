"""The page of a run: one HTML file without scripts from elsewhere, in English and Chinese, light and dark.

It is made from the run's record alone. Every text of the record is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from itertools import pairwise
from string import Template
from typing import Any

from tasks.history.record import RunLine, RunRecord
from tasks.history.words import CHINESE

CHART_WIDTH, CHART_HEIGHT = 640, 120  # of the chart of rows per second, in its own units
PERCENTILES = (50, 95, 100)


def report_page(record: RunRecord) -> str:
    """Return the page as HTML."""
    line, details = record.line, record.details
    configuration = details.get("configuration", {})
    sections = [
        _section("Counts", _pairs(_counts(line, details))),
        _section("Throughput", _throughput(details.get("progress", ()))),
        _section("Time of a row", _pairs(_percentiles(details.get("row_seconds", ())))),
        _section("Stages", _stages(details.get("stages", {}))),
        _section("Failures", _table(("reason", "rows"), _by_count(details.get("failures", {})))),
        _section("Thresholds", _thresholds(details)),
        _section("Models", _table(("filter", "digest of its weights", "rows"), _models(details.get("models", {})))),
        _section("Configuration", _pairs(_configuration(line, configuration))),
    ]
    page = files(__package__).joinpath("assets", "report.html").read_text(encoding="utf-8")
    return Template(page).substitute(run=escape(line.run), title=words("Run"), sections="\n".join(sections))


def words(english: str) -> str:
    """Return a text in both languages; the page shows one of them."""
    return f'<span lang="en">{escape(english)}</span><span lang="zh">{escape(CHINESE[english])}</span>'


def _section(heading: str, content: str) -> str:
    shown = content or f"<p>{words('none')}</p>"
    return f"<section><h2>{words(heading)}</h2>{shown}</section>"


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    rows = (f"<tr><th>{words(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in pairs)
    content = "".join(rows)
    return f"<table>{content}</table>" if content else ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    head = "".join(f"<th>{words(heading)}</th>" for heading in headings)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""


def _counts(line: RunLine, details: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield from (("state", line.state), ("rows", line.total_rows), ("ok", line.ok_rows), ("failed", line.failed_rows))
    yield "without result", line.total_rows - line.ok_rows - line.failed_rows
    yield from sorted(details.get("keeps", {}).items())
    yield from (("submitted", line.submitted_at), ("ended", line.ended_at or "–"), ("recorded", line.updated_at))
    if details.get("untrained"):
        yield "judged with untrained weights", details["untrained"]


def _configuration(line: RunLine, configuration: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield from (("input", line.input), ("output", line.output), ("manifest", line.manifest))
    yield "digest of the manifest", configuration.get("manifest_digest", "")
    yield "filters", ", ".join(configuration.get("filters", ()))
    if configuration.get("features"):
        yield "features", configuration["features"]
    if configuration.get("selection"):
        yield "selected rows", configuration["selection"]
    yield "rows of a shard", configuration.get("shard_rows", "")
    yield "version of tamis", configuration.get("tamis", "")


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _stages(stages: Mapping[str, Mapping[str, int]]) -> str:
    rows = sorted(stages.items(), key=lambda entry: -entry[1]["milliseconds"])
    cells = (
        (name, stage["rows"], f"{stage['milliseconds'] / 1000:.1f}", f"{stage['milliseconds'] / stage['rows']:.1f}")
        for name, stage in rows
    )
    return _table(("stage", "rows", "seconds, all rows", "milliseconds, mean"), cells)


def _models(models: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str, int]]:
    for name, digests in sorted(models.items()):
        for digest, rows in _by_count(digests):
            yield name, digest, rows


def _thresholds(details: Mapping[str, Any]) -> str:
    declared = (
        (key, ", ".join(f"{name} {value}" for name, value in spec.items()))
        for key, spec in sorted(details.get("thresholds", {}).items())
    )
    decided = ((digest, rows) for digest, rows in _by_count(details.get("decided_by", {})))
    used = _table(("digest of the thresholds", "rows"), decided)
    return _table(("output", "thresholds"), declared) + used


def _percentiles(row_seconds: Sequence[Sequence[float]]) -> Iterator[tuple[str, object]]:
    """Yield percentiles of the seconds of judging of a row, from classes that differ by 19 %."""
    total = sum(rows for _, rows in row_seconds)
    for percent in PERCENTILES if total else ():
        passed = 0.0
        for seconds, rows in row_seconds:
            passed += rows
            if passed >= total * percent / 100:
                yield f"{percent} % of the rows take at most", f"{seconds:.2g} s"
                break


def _throughput(progress: Sequence[Sequence[Any]]) -> str:
    """Return a chart of rows per second over time: a bar between each two points of progress."""
    points = [(datetime.fromisoformat(at).timestamp(), int(done)) for at, done in progress]
    spans = [
        (begin, end, (done - before) / (end - begin))
        for (begin, before), (end, done) in pairwise(points)
        if end > begin
    ]
    if not spans:
        return ""
    first, last, highest = spans[0][0], spans[-1][1], max(rate for *_, rate in spans)
    scale = CHART_WIDTH / (last - first)
    bars = "".join(_bar((begin - first) * scale, (end - begin) * scale, rate / highest) for begin, end, rate in spans)
    mean = (points[-1][1] - points[0][1]) / (last - first)
    caption = _pairs(
        (
            ("highest, rows/s", f"{highest:.2f}"),
            ("mean, rows/s", f"{mean:.2f}"),
            ("seconds, first to last row", f"{last - first:.1f}"),
        )
    )
    return f'<svg viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" role="img">{bars}</svg>{caption}'


def _bar(left: float, width: float, share: float) -> str:
    height = CHART_HEIGHT * share
    return f'<rect x="{left:.1f}" y="{CHART_HEIGHT - height:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"/>'
