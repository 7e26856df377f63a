"""A video's file in, every wanted frame out: one pass, in a process that may be killed."""

from __future__ import annotations

from inference.decode.limits import DecodeLimits
from inference.decode.processes.pool import DecoderPool

__all__ = ["DecodeLimits", "DecoderPool"]
