"""Decoding every wanted frame of a video file in one pass, in a process that may be killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.decode.options import DecodeLimits

if TYPE_CHECKING:
    from inference.decode.processes.pool import DecoderPool

__all__ = ["DecodeLimits", "DecoderPool"]


def __getattr__(name: str) -> object:
    """Import the pool, and NumPy with it, only where it is used."""
    if name == "DecoderPool":
        from inference.decode.processes.pool import DecoderPool

        return DecoderPool
    raise AttributeError(name)
