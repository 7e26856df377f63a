"""Write the table of docs/signals.md from the registry of signals; ``--check`` only reports if it is current."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from inference.signals.registry import SIGNALS, Signal  # noqa: E402  # after the path to it

PAGE = ROOT / "docs" / "signals.md"
START = "<!-- made by `python docs/render_signals.py` from inference/signals/registry.py -->\n"
END = "<!-- made until here -->\n"


def rows() -> Iterator[str]:
    """Yield the table's lines."""
    yield "| signal | measures | unit | on | label, by default | why there |\n|---|---|---|---|---|---|\n"
    for one in SIGNALS:
        yield f"| `{one.name}` | {one.meaning} | {one.unit} | {one.view} | {_rule(one)} | {one.reason} |\n"


def _rule(one: Signal) -> str:
    bound = f"> {one.maximum:g}" if one.maximum is not None else f"< {one.minimum:g}"
    return f"`{one.label}` {bound} ± {one.unsure:g}"


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
