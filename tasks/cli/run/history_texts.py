"""Lines of a list of runs, of any length: tens of thousands take a fraction of a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.history.record import RunLine
from tasks.telemetry.printable import printable

HEADINGS = ("run", "submitted (UTC)", "state", "rows", "ok", "failed", "kept", "input", "output")


def history_texts(lines: Sequence[RunLine]) -> Iterator[str]:
    """Yield a heading and a line for each run, in columns; characters that a terminal would obey are escaped."""
    cells = [HEADINGS, *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(line: RunLine) -> tuple[str, ...]:
    numbers = map(str, (line.total_rows, line.ok_rows, line.failed_rows, line.kept_rows))
    submitted = line.submitted_at[:19].replace("T", " ")
    return (line.run, submitted, line.state, *numbers, printable(line.input), printable(line.output))
