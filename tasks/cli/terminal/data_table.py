"""Tables of data for the terminal: cells are shown as they are, never read as markup or terminal control."""

from __future__ import annotations

from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.telemetry.printable import printable

FOLDED_COLUMNS = 10  # a column may be folded to this width; where that does not suffice, rows become lines
GAP_COLUMNS = 3  # between two columns


class DataTable:
    """A table whose cells are data. ``unbroken`` names the columns that are not folded while there is room."""

    def __init__(self, *headings: str, title: str = "", unbroken: Collection[str] = ()) -> None:
        self._headings = tuple(map(printable, headings))
        self._title = title
        self._unbroken = frozenset(unbroken)
        self._rows: list[tuple[str, ...]] = []
        self._values: list[tuple[object, ...]] = []

    def add(self, *cells: object) -> None:
        """Add a row. Unprintable characters of a cell are shown as escapes."""
        self._rows.append(tuple(map(printable, cells)))
        self._values.append(cells)

    def __len__(self) -> int:
        return len(self._rows)

    def documents(self) -> list[dict[str, object]]:
        """Return each row as heading -> the cell's value as it was added, for ``--json``."""
        return [dict(zip(self._headings, values, strict=True)) for values in self._values]

    def print(self, console: Console) -> None:
        """Print the table; on a terminal that is too narrow for it, a line for each row.

        Where the output is not a terminal, no line ends with spaces.
        """
        if not self._fits(console.width):
            self._print_lines(console)
        elif console.is_terminal:
            console.print(self._drawn())
        else:
            with console.capture() as captured:
                console.print(self._drawn())
            for line in captured.get().splitlines():
                console.print(Text(line.rstrip()), soft_wrap=True)

    def _fits(self, columns: int) -> bool:
        widths = [max(map(cell_len, cells)) for cells in zip(self._headings, *self._rows, strict=True)]
        return sum(min(width, FOLDED_COLUMNS) + GAP_COLUMNS for width in widths) <= columns

    def _drawn(self) -> Table:
        table = Table(title=self._title or None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for heading in self._headings:
            table.add_column(Text(heading), overflow="fold", no_wrap=heading in self._unbroken)
        for row in self._rows:
            table.add_row(*map(Text, row))
        return table

    def _print_lines(self, console: Console) -> None:
        if self._title:
            console.print(Text(self._title, style="italic"))
        for row in self._rows:
            pairs = (f"{heading} {cell}".strip() for heading, cell in zip(self._headings, row, strict=True))
            console.print(Text(", ".join(pairs)))


def print_line(console: Console, text: object, style: str = "") -> None:
    """Print a line of data: not wrapped, without markup, unprintable characters as escapes."""
    console.print(Text(printable(text), style=style), soft_wrap=True)
