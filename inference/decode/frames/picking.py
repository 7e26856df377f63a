"""Matching emitted frames with wanted ones, and counting those that could not be decoded. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from inference.decode.frames.timeline import Timeline
from inference.decode.limits import check_fraction
from inference.decode.options import DecodeLimits
from inference.types import Indices


class Picker:
    """Matches emitted frames with wanted positions of a timeline, in one pass, in any order.

    A frame is identified by its *key*: its pts, or its number in the order of emission where the timeline has no
    ticks. A wanted frame that is never emitted is replaced by the next emitted one.
    """

    def __init__(self, timeline: Timeline, wanted: Iterable[Indices], limits: DecodeLimits) -> None:
        positions = np.unique(np.concatenate(list(wanted)))
        keys = positions if timeline.ticks is None else timeline.ticks[positions]
        self._position = dict(zip(keys.tolist(), positions.tolist(), strict=True))
        self._overdue = sorted(self._position, reverse=True)  # the next one due stands last
        self._missing = set(self._position)
        self._broken: set[int] = set()
        self._attempted = int(positions[-1]) + 1
        self._readable_fraction = timeline.readable_fraction
        self._limits = limits

    @property
    def missing(self) -> int:
        """Number of wanted frames that were not emitted yet."""
        return len(self._missing)

    @property
    def is_done(self) -> bool:
        """True once every wanted frame was emitted."""
        return not self._missing

    def wants(self, key: int | None) -> bool:
        """Return True if the frame of that key is wanted and was not emitted yet."""
        return key in self._missing

    def arrived(self, key: int) -> list[int]:
        """Return the wanted positions that this frame fills: its own, and earlier ones whose frame was not emitted."""
        filled = []
        while self._overdue and self._overdue[-1] <= key:
            filled.append(self._position[self._overdue.pop()])
        if key in self._missing:
            self._missing.remove(key)
            if (own := self._position[key]) not in filled:
                filled.append(own)
        return filled

    def broke(self, key: int) -> None:
        """Count a frame as damaged. Raises :class:`BadVideo` as soon as there are too many."""
        self._broken.add(key)
        check_fraction(self._fraction(self._broken), self._limits)

    def decoded_fraction(self) -> float:
        """Share of intact frames up to the last wanted one. Raises :class:`BadVideo` if it is too small."""
        fraction = self._fraction(self._broken | self._missing)
        check_fraction(fraction, self._limits)
        return fraction

    def _fraction(self, broken: set[int]) -> float:
        return self._readable_fraction * max(0.0, 1 - len(broken) / self._attempted)
