"""Write docs/settings.md and the names in the chart's values.schema.json from the settings.

``--check`` only reports whether they are up to date. The schema has the names, so that Helm refuses a misspelt setting
like any other misspelt value.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from functools import reduce
from pathlib import Path

from tasks.settings import Settings
from tasks.settings.groups import GIB
from tasks.settings.table import FIRST, PREFIX, SECTIONS, SETTINGS, Setting

PAGE = Path(__file__).parent / "settings.md"
SCHEMA = Path(__file__).parent.parent / "deploy" / "helm" / "tamis" / "values.schema.json"
HEAD = """# Settings

Every setting is an environment variable, read once at start. All mistakes are reported together, an unknown
`TAMIS_*` name is refused, and an empty value means "not set". A secret (a URL with a password, a key, a token) may
stand in a file: `TAMIS_BROKER_URL_FILE=/run/secrets/broker` is read in place of `TAMIS_BROKER_URL`.
This page is made by `python docs/render_settings.py`.
"""
COLUMNS = "| variable | default | what it is |\n|---|---|---|\n"
OF_THE_MACHINE = {"node.name": "the host's name", "node.state_dir": ".tamis"}


def shown(setting: Setting) -> str:
    """Return the default as a person writes it."""
    if setting.path in OF_THE_MACHINE:
        return OF_THE_MACHINE[setting.path]
    default: object = reduce(getattr, setting.path.split("."), Settings())
    if default is None:
        return "–"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int) and default >= GIB and default % GIB == 0:
        return f"{default} ({default // GIB} GiB)"
    return str(default)


def table(title: str, settings: Iterable[Setting]) -> str:
    """Return a heading and a row for each setting."""
    rows = (f"| `{one.variable}` | {shown(one)} | {one.description} |\n" for one in settings)
    return f"\n## {title}\n\n{COLUMNS}{''.join(rows)}"


def page() -> str:
    """Return the whole page: the ten that most people need, then every setting by the part that reads it."""
    first = table("The ten that most people need", (SETTINGS[PREFIX + name] for name in FIRST))
    return HEAD + first + "".join(table(section.title, section.settings) for section in SECTIONS)


def schema() -> str:
    """Return the chart's schema with the present names, one a line: all but those that the chart sets itself."""
    text = SCHEMA.read_text(encoding="utf-8")
    set_by_chart = re.compile(json.loads(text)["properties"]["settings"]["propertyNames"]["not"]["pattern"])
    names = ",\n".join(f'            "{name}"' for name in sorted(SETTINGS) if not set_by_chart.search(name))
    return re.sub(r'(\{"enum": \[\n)[^\]]*?(\n\s*\]\}, \{"pattern": "\^OTEL)', rf"\g<1>{names}\g<2>", text)


if __name__ == "__main__":
    for path, text in {PAGE: page(), SCHEMA: schema()}.items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is stale: run {__file__}")
