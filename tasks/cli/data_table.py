"""Tables of data for the terminal: cells are shown as they are, never read as markup or terminal control."""

from __future__ import annotations

from collections.abc import Collection

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.telemetry.printable import printable


class DataTable:
    """A table whose cells are data. ``unbroken`` names the columns that are not wrapped while there is room."""

    def __init__(
        self, *headings: str, title: str = "", unbroken: Collection[str] = (), box: Box | None = SIMPLE_HEAD
    ) -> None:
        self._table = Table(title=title or None, title_justify="left", box=box, padding=(0, 1), pad_edge=False)
        for heading in headings:
            self._table.add_column(Text(printable(heading)), overflow="fold", no_wrap=heading in unbroken)

    def add(self, *cells: object, style: str = "") -> None:
        """Add a row. Unprintable characters of a cell are shown as escapes."""
        self._table.add_row(*(Text(printable(cell)) for cell in cells), style=style)

    def __len__(self) -> int:
        return self._table.row_count

    def print(self, console: Console) -> None:
        """Print the table, without spaces at the ends of lines where the output is not a terminal."""
        if console.is_terminal:
            console.print(self._table)
            return
        with console.capture() as captured:
            console.print(self._table)
        for line in captured.get().splitlines():
            console.print(Text(line.rstrip()), soft_wrap=True)


def print_line(console: Console, text: object, style: str = "") -> None:
    """Print a line of data: not wrapped, without markup, unprintable characters as escapes."""
    console.print(Text(printable(text), style=style), soft_wrap=True)
