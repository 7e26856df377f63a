"""Write the table of docs/decoding.md from the results that tests expect; ``--check`` only reports if it is current."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent / "decoding.md"
EXPECTED = Path(__file__).parent.parent / "tests" / "contract" / "decoders.toml"
START = "<!-- made by `python docs/render_decoders.py` from tests/contract/decoders.toml -->\n"
END = "<!-- made until here -->\n"
HEADINGS = {
    "pyav": "`pyav`",
    "decord": "`decord`",
    "nvdec": "`nvdec`, without a GPU",
    "get_batch": "decord's own `get_batch`",
}
SECTIONS = {"sound": "sound", "damaged": "damaged", "not_videos": "no video"}
WORDS = {"right": "right", "partial": "partial", "wrong": "**wrong**"}


def rows() -> Iterator[str]:
    """Yield the table's lines."""
    expected = tomllib.loads(EXPECTED.read_text(encoding="utf-8"))
    yield f"| file | | {' | '.join(HEADINGS[name] for name in expected['adapters'])} |\n"
    yield f"|---|---|{'---|' * len(expected['adapters'])}\n"
    for section, word in SECTIONS.items():
        for row in expected[section].values():
            cells = [row[name] for name in expected["adapters"]]
            yield f"| {row['what']} | {word} | {' | '.join(_shown(cell) for cell in cells)} |\n"


def _shown(cell: str) -> str:
    return " or ".join(WORDS.get(outcome, f"`{outcome}`") for outcome in cell.split(" or "))


def page(written: str) -> str:
    """Return the page with a new table. Raises ValueError if the marks around the table are missing."""
    before, _, rest = written.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} lacks the lines {START!r} and {END!r} around the table")
    return "".join((before, START, *rows(), END, after))


if __name__ == "__main__":
    found = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit(None if found == page(found) else f"{PAGE} is stale: run python {__file__}")
    PAGE.write_text(page(found), encoding="utf-8")
