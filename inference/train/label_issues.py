"""Clips whose label is probably wrong, from probabilities of heads that did not see them.

Confident learning (Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021): a class is
likely for a clip when its probability reaches the mean of that class over the clips that carry its label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference.train.data import Floats, LabelledClips


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelIssue:
    """A clip whose label is probably wrong."""

    clip: str
    source: str
    label: str  # as given
    likely: str
    probability: float  # of the given label, out of fold


def find_label_issues(clips: LabelledClips, probabilities: Floats) -> list[LabelIssue]:
    """List the clips whose likely class is another than their label's, the least probable labels first.

    ``probabilities`` ``(clips, classes)`` are of heads that saw no clip of the same source.
    """
    rows = np.arange(len(clips))
    own = probabilities[rows, clips.labels]
    means = np.array([own[clips.labels == place].mean() for place in range(len(clips.classes))])
    confident = np.where(probabilities >= means, probabilities, -1.0)
    likely = confident.argmax(axis=1)
    is_wrong = (confident.max(axis=1) >= 0) & (likely != clips.labels)
    return [
        LabelIssue(
            clip=str(clips.names[row]),
            source=str(clips.sources[row]),
            label=clips.classes[clips.labels[row]],
            likely=clips.classes[likely[row]],
            probability=float(own[row]),
        )
        for row in sorted(np.flatnonzero(is_wrong), key=lambda row: own[row])
    ]
