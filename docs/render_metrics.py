"""Write the table of metrics into docs/monitoring.md; ``--check`` only reports whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.telemetry.metrics import fleet
from tasks.telemetry.metrics.catalogue import CatalogueEntry, catalogue

PAGE = Path(__file__).parent / "monitoring.md"
START, END = "<!-- metrics: made by docs/render_metrics.py -->\n", "<!-- end of metrics -->\n"
HEAD = "| metric | kind | labels | of the | what it says |\n|---|---|---|---|---|\n"
OF_FLEET = {family.name for family in fleet.FAMILIES}


def row(entry: CatalogueEntry) -> str:
    """Return a metric's line; a counter has the suffix that queries use."""
    name = entry.series[0] if entry.kind == "counter" else entry.name
    labels = ", ".join(f"`{label}`" for label in entry.labels) or "–"
    scope = "fleet" if entry.name in OF_FLEET else "process"
    return f"| `{name}` | {entry.kind} | {labels} | {scope} | {entry.meaning} |\n"


def page(text: str) -> str:
    """Return the page with a new table."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{HEAD}{''.join(row(entry) for entry in catalogue())}{END}{after}"


if __name__ == "__main__":
    current = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit(None if current == page(current) else f"{PAGE} is stale: run {__file__}")
    PAGE.write_text(page(current), encoding="utf-8")
