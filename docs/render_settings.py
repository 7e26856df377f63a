"""Write docs/settings.md from the settings; ``--check`` only reports whether it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import reduce
from pathlib import Path

from tasks.settings import Settings
from tasks.settings.groups import GIB
from tasks.settings.table import FIRST, PREFIX, SECTIONS, SETTINGS, Setting

PAGE = Path(__file__).parent / "settings.md"
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


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(None if PAGE.exists() and PAGE.read_text() == page() else f"{PAGE} is stale: run {__file__}")
    PAGE.write_text(page())
