"""Signals: named numbers of a video that need no weights, from a few of its frames and from its packets.

``measure(frames, seconds)`` measures frames in memory; :func:`analyse` measures a decoded video, for the whole of it
and for any window.
"""

from __future__ import annotations

from inference.signals.analysis import Analysis, analyse, measure
from inference.signals.registry import NAMES, SIGNALS, Signal
from inference.signals.series import Series
from inference.signals.views import REQUESTS, FrameViews

__all__ = ["NAMES", "REQUESTS", "SIGNALS", "Analysis", "FrameViews", "Series", "Signal", "analyse", "measure"]
