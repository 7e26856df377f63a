"""Write docs/settings.md and the names in the chart's values.schema.json from the settings.

``--check`` only reports whether they are up to date. The schema has the names, so that Helm refuses a misspelt setting
like any other misspelt value.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from tasks.settings import Settings
from tasks.settings.environment import SETTINGS
from tasks.settings.groups import GIB, PREFIX

PAGE = Path(__file__).parent / "settings.md"
SCHEMA = Path(__file__).parent.parent / "deploy" / "helm" / "tamis" / "values.schema.json"
HEAD = """# Settings

Every setting is an environment variable, read once at start. All mistakes are reported together, an unknown
`TAMIS_*` name is refused, and an empty value means "not set". A secret (a URL with a password, a key, a token) may
stand in a file: `TAMIS_BROKER_URL_FILE=/run/secrets/broker` is read in place of `TAMIS_BROKER_URL`.
This page is made by `python docs/render_settings.py`.
"""
COLUMNS = "| variable | default | what it is |\n|---|---|---|\n"
OF_THE_MACHINE = {"TAMIS_NODE": "the host's name", "TAMIS_STATE_DIR": ".tamis"}
FIRST = (
    "OBJECT_ROOT",
    "OSS_ENDPOINT",
    "ODPS_ENDPOINT",
    "MANIFEST",
    "BROKER_URL",
    "STATE_DIR",
    "SPOOL_DIR",
    "DISK_LIMIT_BYTES",
    "NODE",
    "METRICS_PORT",
)


def shown(variable: str) -> str:
    """Return the default as a person writes it."""
    if variable in OF_THE_MACHINE:
        return OF_THE_MACHINE[variable]
    one = SETTINGS[variable]
    default: object = getattr(getattr(Settings(), one.group), one.name)
    if default is None:
        return "–"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int) and default >= GIB and default % GIB == 0:
        return f"{default} ({default // GIB} GiB)"
    return str(default)


def table(title: str, variables: Iterable[str]) -> str:
    """Return a heading and a row for each setting."""
    rows = (f"| `{name}` | {shown(name)} | {DESCRIPTIONS[name]} |\n" for name in variables)
    return f"\n## {title}\n\n{COLUMNS}{''.join(rows)}"


GROUPS = {
    type(group).__doc__.removesuffix("."): [one.metadata for one in fields(group)]
    for group in (getattr(Settings(), one.name) for one in fields(Settings))
}
DESCRIPTIONS = {one["variable"]: one["description"] for group in GROUPS.values() for one in group}


def page() -> str:
    """Return the whole page: the ten that most people need, then every setting by the part that reads it."""
    first = table("The ten that most people need", (PREFIX + name for name in FIRST))
    return HEAD + first + "".join(table(title, (one["variable"] for one in group)) for title, group in GROUPS.items())


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
