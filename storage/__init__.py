"""Tables, objects, tiers, spool and ledger. This package never imports Celery, torch or inference.

``from storage import open_input, open_output`` opens tables by URL; both are loaded at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.tables.open import open_input, open_output

__all__ = ["open_input", "open_output"]


def __getattr__(name: str) -> object:
    """Load a public name at first use, so that ``import storage`` stays light (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from storage.tables import open as tables

    return getattr(tables, name)
