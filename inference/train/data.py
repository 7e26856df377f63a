"""Labelled clips: features, labels and sources, checked once before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from inference.decide import NORMAL
from inference.errors import TrainingError

Floats = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.int64]  # positions of clips


class FeatureRows(Protocol):
    """Features by clip: an array, or a reader of files that are too large for the memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(clips, width)``, or ``(clips, tokens, width)``."""
        ...

    def __getitem__(self, rows: Rows, /) -> Floats:
        """Return the features of these clips."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelledClips:
    """Clips to train on. ``labels`` are places in ``classes``; clips of one source are never split apart."""

    features: FeatureRows
    labels: Rows  # (clips,)
    sources: npt.NDArray[np.str_]  # (clips,): the recording that a clip comes from
    names: npt.NDArray[np.str_]  # (clips,): what a person recognises the clip by
    videos: npt.NDArray[np.str_]  # (clips,): the video that it is a window of, or its own name
    classes: tuple[str, ...]
    good: frozenset[int]  # the classes of clips to keep
    weights: Floats  # (clips,): of each clip in the loss

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(
        cls,
        features: FeatureRows,
        labels: Sequence[str],
        sources: Sequence[str],
        *,
        names: Sequence[str] | None = None,
        videos: Sequence[str] | None = None,
        good: str | None = None,
        weights: Sequence[float] | None = None,
    ) -> Self:
        """Check the rows. ``good`` is the label of clips to keep; default: labels that start with ``normal``.

        Classes are ordered with the labels to drop first, as in the filters' heads.

        Raises:
            TrainingError: lengths differ, a feature is not finite, or there is one label only or none of good clips.
        """
        count = features.shape[0]
        given = {"labels": labels, "sources": sources, "names": names, "videos": videos, "weights": weights}
        for name, values in given.items():
            if values is not None and len(values) != count:
                raise TrainingError(f"{count} clips have features, but there are {len(values)} {name}")
        found = sorted(set(labels))
        wanted = {one for one in found if (one == good if good is not None else one.startswith(NORMAL))}
        _check_labels(Counter(labels), wanted, good)
        classes = tuple([one for one in found if one not in wanted] + sorted(wanted))
        place = {name: number for number, name in enumerate(classes)}
        _check_finite(features)
        named = np.array(names if names is not None else [f"clip {place}" for place in range(count)], np.str_)
        return cls(
            features=features,
            labels=np.array([place[one] for one in labels], np.int64),
            sources=np.array(sources, np.str_),
            names=named,
            videos=named if videos is None else np.array(videos, np.str_),
            classes=classes,
            good=frozenset(place[one] for one in wanted),
            weights=np.ones(count) if weights is None else np.asarray(weights, float),
        )

    def bad_scores(self, probabilities: Floats) -> Floats:
        """Return each clip's probability of the labels to drop, from ``(clips, classes)``."""
        scores: Floats = probabilities[:, self.bad_classes].sum(axis=1)
        return scores

    def by_video(self, rows: Rows, scores: Floats) -> tuple[Floats, Rows]:
        """Return the highest score of each video, and the position of one of its clips.

        ``scores`` are of the clips at ``rows``. One clip above a threshold drops its video.
        """
        _, first, video = np.unique(self.videos[rows], return_index=True, return_inverse=True)
        highest = np.full(len(first), -np.inf)
        np.maximum.at(highest, video, scores)
        return highest, rows[first]

    @property
    def bad_classes(self) -> list[int]:
        """The classes of clips to drop."""
        return [place for place in range(len(self.classes)) if place not in self.good]

    @property
    def is_bad(self) -> npt.NDArray[np.bool_]:
        """``(clips,)``: the clip's label is one to drop."""
        return ~np.isin(self.labels, list(self.good))

    def sources_by_class(self) -> dict[str, int]:
        """Class -> number of its sources."""
        return {name: len(set(self.sources[self.labels == place])) for place, name in enumerate(self.classes)}


def class_weights(labels: Rows, weights: Floats, classes: int) -> Floats:
    """Return the clips' weights, scaled so that every class weighs as much as any other and the mean is 1."""
    totals = np.bincount(labels, weights=weights, minlength=classes)
    balanced: Floats = weights / np.where(totals > 0, totals, 1.0)[labels]
    return np.asarray(balanced / balanced.mean())


def _check_labels(counts: Counter[str], wanted: set[str], good: str | None) -> None:
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())) or "none"
    if len(counts) < 2:
        raise TrainingError(f"the clips have one label only: {listed}; a head needs clips of two labels or more")
    if not wanted:
        missing = f"no clip has the label {good!r}" if good is not None else f"no label starts with {NORMAL!r}"
        raise TrainingError(f"{missing} (labels: {listed}); name the label of the clips to keep (--good LABEL)")
    if len(wanted) == len(counts):
        raise TrainingError(f"every label means a clip to keep: {listed}; name the one to keep (--good LABEL)")


def _check_finite(features: FeatureRows) -> None:
    if isinstance(features, np.ndarray) and not np.isfinite(features).all():
        rows = np.flatnonzero(~np.isfinite(features).reshape(len(features), -1).all(axis=1))
        raise TrainingError(f"features of {len(rows)} clips are not finite, first at row {rows[0]}; extract them again")
