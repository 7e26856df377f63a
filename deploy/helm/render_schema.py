"""Write the names of settings into the chart's values.schema.json; ``--check`` only reports whether they are current.

So Helm refuses a misspelt setting like any other misspelt value, before a pod fails by it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tasks.settings.table import SETTINGS

SCHEMA = Path(__file__).parent / "tamis" / "values.schema.json"


def names(schema: dict[str, Any]) -> list[str]:
    """Return the settings that a values file may give: all but those that the chart sets itself."""
    own = re.compile(schema["properties"]["settings"]["propertyNames"]["not"]["pattern"])
    return sorted(name for name in SETTINGS if not own.search(name))


def rendered(text: str) -> str:
    """Return the schema's text with the present names, one a line."""
    schema = json.loads(text)
    lines = ",\n".join(f'            "{name}"' for name in names(schema))
    return re.sub(r'(\{"enum": \[\n)[^\]]*?(\n\s*\]\}, \{"pattern": "\^OTEL)', rf"\g<1>{lines}\g<2>", text)


if __name__ == "__main__":
    found = SCHEMA.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit(None if found == rendered(found) else f"{SCHEMA} is stale: run python {__file__}")
    SCHEMA.write_text(rendered(found), encoding="utf-8")
