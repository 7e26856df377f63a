"""Features held against those of a float32 forward pass. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEAST_COSINE = 0.999  # below it, the faster arithmetic changes features too much

Features = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The agreement of clips' features with exact ones."""

    clips: int
    cosine: float  # the smallest of all clips
    max_difference: float  # absolute, the largest of all values

    @property
    def is_close(self) -> bool:
        """True when every clip's features point where the exact ones do."""
        return self.cosine >= LEAST_COSINE

    def __str__(self) -> str:
        return (
            f"{self.clips} clips against float32: cosine at least {self.cosine:.6f} "
            f"({'as' if self.is_close else 'NOT as'} required, {LEAST_COSINE}), "
            f"largest difference {self.max_difference:.2g}"
        )


def compare(pairs: Iterable[tuple[Features, Features]]) -> Agreement:
    """Compare the features of videos with exact ones of the same shapes ``(clips, …)``.

    >>> str(compare([(np.array([[1.0, 0.0]]), np.array([[1.0, 0.01]]))]))
    '1 clips against float32: cosine at least 0.999950 (as required, 0.999), largest difference 0.01'
    """
    clips, cosine, difference = 0, 1.0, 0.0
    for found, exact in pairs:
        one = np.asarray(found, dtype=np.float64).reshape(len(found), -1)
        other = np.asarray(exact, dtype=np.float64).reshape(len(exact), -1)
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = np.divide((one * other).sum(axis=1), norms, out=np.zeros(len(norms)), where=norms > 0)
        clips += len(one)
        cosine = min(cosine, float(cosines.min()))
        difference = max(difference, float(np.abs(one - other).max()))
    return Agreement(clips=clips, cosine=cosine, max_difference=difference)
