"""Write docs/settings.md from the settings themselves; ``--check`` only says whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.settings import GIB, PREFIX, Settings

PAGE = Path(__file__).parent / "settings.md"
HEAD = """# Settings

Every setting is an environment variable, read once at start. All mistakes are reported together, an unknown
`TAMIS_*` name is refused, and an empty value means "not set". A secret (a URL with a password, a key, a token) may
stand in a file: `TAMIS_BROKER_URL_FILE=/run/secrets/broker` is read in place of `TAMIS_BROKER_URL`.
This page is made by `python docs/render_settings.py`.

| variable | default | what it is |
|---|---|---|
"""


def shown(name: str, default: object) -> str:
    """Return the default as a person would write it."""
    if name == "node":
        return "the host's name"
    if default is None:
        return "–"
    if isinstance(default, int) and default >= GIB and default % GIB == 0:
        return f"{default} ({default // GIB} GiB)"
    return str(default)


def page() -> str:
    """Return the whole page."""
    rows = (
        f"| `{PREFIX}{name.upper()}` | {shown(name, field.default)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    )
    return HEAD + "".join(rows)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(None if PAGE.exists() and PAGE.read_text() == page() else f"{PAGE} is stale: run {__file__}")
    PAGE.write_text(page())
