"""The interface of a decoding library. A new decoder is one module and one line in ``options``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from inference.decode.frames.timeline import Timeline
from inference.decode.options import ADAPTERS, DecodeLimits
from inference.types import Frames, Indices, PictureSpec


@dataclass(frozen=True, slots=True)
class Reading:
    """The properties of a video that only decoding shows."""

    width: int  # pixels, upright
    height: int
    rotation_degrees: int  # clockwise rotation that was applied: 0, 90, 180, 270
    decoded_fraction: float  # of the frames up to the last wanted one
    decoder: str  # the adapter that made the frames
    is_mirrored: bool = False  # in addition to the rotation
    is_interlaced: bool = False  # frames hold two fields: they are not de-interlaced
    fallback_reason: str = ""  # why another adapter was asked first; the text before a colon is the kind of reason


class VideoDecoder(Protocol):
    """A decoding library. Both calls raise :class:`BadVideo`, and MemoryError when the limit is hit."""

    def probe(self, path: str, limits: DecodeLimits) -> Timeline:
        """Find every presented frame, without decoding if the packets show them.

        Raises :class:`BadVideo` for a file that is not a video or is over a limit.
        """

    def read(
        self,
        path: str,
        timeline: Timeline,
        wanted: Mapping[PictureSpec, Indices],
        frames: Mapping[PictureSpec, Frames],
        limits: DecodeLimits,
    ) -> Reading:
        """Fill ``frames[spec][n]`` with the upright frame ``wanted[spec][n]`` (ascending, into the timeline).

        A wanted frame that is broken is replaced by the nearest intact one.
        """


def open_decoder(name: str) -> VideoDecoder:
    """Return the adapter of that name, or build the one at a dotted path ``package.module:Name``."""
    module, _, attribute = ADAPTERS.get(name, name).partition(":")
    if not attribute:
        raise ValueError(f"decoder {name!r} is not known: use one of {', '.join(sorted(ADAPTERS))}")
    return cast("VideoDecoder", getattr(importlib.import_module(module), attribute)())
