"""Tables on terminals of every width and in pipes; their cells are data."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.console import Console

import tasks.cli
from tasks.cli.terminal.data_table import DataTable, print_line

CLI = Path(tasks.cli.__file__).parent

HEADINGS = ("#", "video", "tier", "vfx", "simcam", "seg simcam", "rotate vertical", "abnormal region")


def table() -> DataTable:
    made = DataTable(*HEADINGS, title="Verdicts", unbroken={"#"})
    made.add(0, "clip[/x]", "oss", "VFX", "normal", "normal 3/3", "rotated", "none")
    made.add(1, "a\x1b[2J\u202e", "oss", "normal", "normal", "normal 2/2", "rotated", "logo, cropped")
    return made


def printed(width: int, *, is_terminal: bool = False, **console: object) -> str:
    output = io.StringIO()
    table().print(Console(file=output, width=width, force_terminal=is_terminal, **console))  # type: ignore[arg-type]
    return output.getvalue()


def test_a_wide_output_has_a_row_on_a_line_without_trailing_spaces() -> None:
    lines = printed(4096).splitlines()
    assert any(
        line.split() == ["0", "clip[/x]", "oss", "VFX", "normal", "normal", "3/3", "rotated", "none"] for line in lines
    )
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [60, 40])
def test_a_narrow_terminal_has_words_in_place_of_columns(width: int) -> None:
    text = " ".join(printed(width, is_terminal=True, no_color=True).split())
    assert "# 0, video clip[/x], tier oss, vfx VFX, simcam normal, seg simcam normal 3/3" in text
    assert max(map(len, printed(width, is_terminal=True, no_color=True).splitlines())) <= width + len("\x1b[3m\x1b[0m")


@pytest.mark.parametrize("width", [60, 200])
def test_cells_are_data_at_every_width(width: int) -> None:
    text = "".join(printed(width).split())
    assert "clip[/x]" in text
    assert "a\\x1b[2J\\u202e" in text
    assert "\x1b" not in text


def test_without_colour_no_colour_is_printed() -> None:
    output = io.StringIO()
    print_line(Console(file=output, force_terminal=True, no_color=True), "warning", style="yellow")
    assert "\x1b[3" not in output.getvalue()


def printed_texts(path: Path) -> list[str]:
    """Return the ``console.print(…)`` calls of a file whose text is made of values: they would be read as markup."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    prints = [
        call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "print" and call.args
    ]
    return [ast.unparse(call) for call in prints if isinstance(call.args[0], ast.JoinedStr)]


@pytest.mark.parametrize("path", sorted(CLI.rglob("*.py")), ids=lambda path: str(path.relative_to(CLI)))
def test_no_command_prints_values_as_markup(path: Path) -> None:
    assert printed_texts(path) == []
