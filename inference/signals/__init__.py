"""Signals: named numbers of a video that need no weights, from a few of its frames and from its packets.

``measure(frames, seconds)`` measures frames in memory; :func:`analyse` measures a decoded video, for the whole of it
and for any window. The names are loaded at first use: a process that reads manifests needs no OpenCV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.signals.registry import NAMES, SIGNALS, Signal

if TYPE_CHECKING:
    from inference.signals.analysis import Analysis, analyse, measure
    from inference.signals.views import REQUESTS

__all__ = ["NAMES", "REQUESTS", "SIGNALS", "Analysis", "Signal", "analyse", "measure"]


def __getattr__(name: str) -> object:
    """Load a public name at first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inference.signals import analysis, views

    return next(getattr(module, name) for module in (analysis, views) if hasattr(module, name))
