"""How many clips a batch may hold on a device whose memory ran full. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class BatchLimit:
    """The largest batch size that is run: the largest bucket, until memory runs full at it.

    It comes back one bucket at a time, each after ``recovery_batches`` batches that fitted: what took the memory
    (another model, another process) may have gone, and a try that fails costs one batch in that many.
    """

    def __init__(self, buckets: Sequence[int], recovery_batches: int) -> None:
        self._buckets = tuple(buckets)
        self._recovery_batches = recovery_batches
        self._place = len(buckets) - 1
        self._fitted = 0  # batches since the limit last moved

    @property
    def clips(self) -> int:
        """The limit now."""
        return self._buckets[self._place]

    def lower(self, size: int) -> None:
        """A batch of ``size`` did not fit: from now on the bucket below it, or the smallest."""
        below = [place for place, bucket in enumerate(self._buckets) if bucket < size]
        self._place = min(self._place, below[-1] if below else 0)
        self._fitted = 0

    def fitted(self) -> bool:
        """A batch did fit; whether that raised the limit."""
        self._fitted += 1
        if self._place + 1 == len(self._buckets) or self._fitted < self._recovery_batches:
            return False
        self._place += 1
        self._fitted = 0
        return True
