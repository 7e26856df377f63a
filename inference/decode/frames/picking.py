"""Matching emitted frames with wanted ones, and counting those that could not be decoded. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from inference.decode.frames.timeline import MiscountedFramesError, Timeline
from inference.decode.limits import check_decoded
from inference.decode.options import DecodeLimits
from inference.types import Indices


class Picker:
    """Matches emitted frames with wanted positions of a timeline, in one pass, in any order.

    A frame is identified by its *key*: its pts, or its number in the order of emission where the timeline has no
    ticks. A wanted frame that is never emitted is replaced by the next emitted one.
    """

    def __init__(self, timeline: Timeline, wanted: Iterable[Indices], limits: DecodeLimits) -> None:
        self.positions = positions = np.unique(np.concatenate(list(wanted)))
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
        check_decoded(self._fraction(self._broken), self._limits, self._damage(self._broken))

    def decoded_fraction(self) -> float:
        """Share of intact frames up to the last wanted one. Raises :class:`BadVideo` if it is too small."""
        lost = self._broken | self._missing
        fraction = self._fraction(lost)
        check_decoded(fraction, self._limits, self._damage(lost))
        return fraction

    def _fraction(self, broken: set[int]) -> float:
        return self._readable_fraction * max(0.0, 1 - len(broken) / self._attempted)

    def _damage(self, broken: set[int]) -> str:
        missing = 1 - self._readable_fraction
        lost_end = f", {missing:.1%} of the file is missing at its end" if missing else ""
        return f"{len(broken)} of the first {self._attempted} frames cannot be decoded{lost_end}"


class EmissionCheck:
    """Compares the frames that a decoder emits with those of a timeline that was counted from packets.

    Packets need not agree with presented frames: a packet may hold one field, nothing to be presented, or two frames.
    Raises :class:`MiscountedFramesError` at the first disagreement. After damage nothing is compared: then frames are
    expected to be missing.
    """

    def __init__(self, timeline: Timeline, wanted: Indices, *, is_skipping: bool) -> None:
        count = len(timeline.pts_seconds)
        keys = np.arange(count) if timeline.ticks is None else timeline.ticks
        self._is_counted = timeline.ticks is None
        self._is_skipping = is_skipping
        self._keys = frozenset(keys.tolist())
        self._first = int(keys[0])
        self._expected = iter((keys[wanted] if is_skipping else keys).tolist())
        self._next: int | None = next(self._expected)
        self._latest: int | None = None
        self._fed = self._emitted = 0
        self._is_active = not timeline.is_decoded

    @property
    def is_open(self) -> bool:
        """True while frames are due that must be compared; False after damage, or where packets are skipped."""
        return self._is_active and not self._is_skipping

    def fed(self) -> None:
        """Note that a packet goes to the decoder."""
        self._fed += 1

    def damaged(self) -> None:
        """Note an error or a frame that is marked as corrupt."""
        self._is_active = False

    def emitted(self, key: int | None) -> None:
        """Compare the key of one emitted frame."""
        if not self._is_active:
            return
        self._emitted += 1
        if self._is_counted and self._emitted > self._fed:
            raise MiscountedFramesError(f"{self._emitted} frames of {self._fed} packets")
        if key is not None and key < self._first:  # before the first presented frame
            return
        if key is None or key not in self._keys or (self._latest is not None and key <= self._latest):
            raise MiscountedFramesError(f"a frame at {key} that no packet announced")
        self._latest = key
        if self._next is not None and key > self._next:
            raise MiscountedFramesError(f"no frame at {self._next}")
        if key == self._next:
            self._next = next(self._expected, None)

    def ended(self) -> None:
        """Note that the decoder has emitted its last frame."""
        if self._is_active and self._next is not None:
            raise MiscountedFramesError(f"no frame at {self._next}")
