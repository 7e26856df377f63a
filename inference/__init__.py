"""Bytes of a video in, scores out. This package never imports Celery or storage.

``from inference import open_judge`` judges files on this machine; the names below are loaded at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.errors import BadVideo, InferenceError, ManifestError, Transient
    from inference.judge import Judge, open_judge
    from inference.types import Verdict

__all__ = ["BadVideo", "InferenceError", "Judge", "ManifestError", "Transient", "Verdict", "open_judge"]


def __getattr__(name: str) -> object:
    """Load a public name at first use, so that ``import inference`` stays light (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inference import errors, judge, types

    return next(getattr(module, name) for module in (judge, errors, types) if hasattr(module, name))
