"""Decisions from scores: keep, drop or review a clip, by thresholds per output. Pure: it needs no model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, exp, floor, lgamma, log

from inference.manifest.schema import ThresholdSpec

Probabilities = Mapping[str, float]  # label -> probability
DIGITS = 6  # of a written probability; differences are rounded to them, as 1 - 0.8 is less than 0.2
NORMAL = "normal"  # labels that start with it are wanted
NOT_JUDGED = "not_judged:"  # prefix of the reason of an output without scores


class Keep(StrEnum):
    """The three decisions about a clip."""

    KEEP = "keep"
    DROP = "drop"
    REVIEW = "review"  # close to a threshold, or without the scores that a threshold needs


@dataclass(frozen=True, slots=True)
class Decision:
    """A clip's decision; ``reasons`` are the outputs that drop it, else those that ask for a review."""

    keep: Keep
    reasons: tuple[str, ...]
    digest: str  # of the thresholds

    def to_json(self) -> dict[str, object]:
        """Return ``result_info.decision``."""
        return {"keep": self.keep.value, "reasons": list(self.reasons), "decided_by": self.digest}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds by output key. ``digest`` is the SHA-256 (hex) of the whole declaration they come from."""

    specs: Mapping[str, ThresholdSpec]
    digest: str

    @classmethod
    def of(cls, specs: Mapping[str, ThresholdSpec]) -> Thresholds:
        """Return the thresholds with their digest, which does not depend on their order."""
        content = {key: spec.model_dump(mode="json") for key, spec in specs.items()}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return cls(dict(specs), hashlib.sha256(canonical.encode()).hexdigest())

    def only(self, keys: Iterable[str]) -> Thresholds:
        """Return the thresholds of these outputs, with the digest of all: for a run in which other filters are off."""
        kept = set(keys)
        return replace(self, specs={key: spec for key, spec in self.specs.items() if key in kept})


def decide(scores: Mapping[str, Sequence[Probabilities]], thresholds: Thresholds) -> Decision:
    """Decide on a clip. ``scores`` has the output's one verdict, or its windows' verdicts in time order.

    An output that a threshold names and that has no scores asks for a review: it was not judged, so it did not pass.
    """
    return combine(
        {key: decide_output(scores.get(key, ()), spec) for key, spec in thresholds.specs.items()}, thresholds
    )


def combine(found: Mapping[str, Keep | None], thresholds: Thresholds) -> Decision:
    """Combine the outputs' decisions: one that drops drops the clip. None stands for an output without scores."""
    if drops := tuple(key for key, keep in found.items() if keep is Keep.DROP):
        return Decision(Keep.DROP, drops, thresholds.digest)
    reviews = (key if keep else NOT_JUDGED + key for key, keep in found.items() if keep is not Keep.KEEP)
    reasons = tuple(reviews)
    return Decision(Keep.REVIEW if reasons else Keep.KEEP, reasons, thresholds.digest)


def decide_output(verdicts: Sequence[Probabilities], spec: ThresholdSpec) -> Keep | None:
    """Decide by one output alone; None when it has no scores, or none of the threshold's label."""
    values = [value for verdict in verdicts if (value := score(verdict, spec.label)) is not None]
    if not values or len(values) < len(verdicts):
        return None
    if share_beyond(values, spec, margin=0.0) > spec.share:
        return Keep.DROP
    is_close = spec.review > 0 and share_beyond(values, spec, margin=spec.review) > spec.share
    return Keep.REVIEW if is_close else Keep.KEEP


def score(verdict: Probabilities, label: str | None) -> float | None:
    """Return the probability of ``label``; without one, that of all labels that do not start with ``normal``.

    None when the verdict has no such label.
    """
    if label is not None:
        return verdict.get(label)
    wanted = [value for name, value in verdict.items() if name.startswith(NORMAL)]
    return round(1.0 - sum(wanted), DIGITS) if wanted else None


def share_beyond(values: Sequence[float], spec: ThresholdSpec, *, margin: float) -> float:
    """Return the share of windows beyond a threshold that lies ``margin`` further inside the kept range.

    With ``hysteresis``, a window that follows one beyond the threshold stays beyond it until its score is inside by
    more than the hysteresis.
    """
    return sum(_beyond(values, spec, margin)) / len(values)


def _beyond(values: Iterable[float], spec: ThresholdSpec, margin: float) -> Iterator[bool]:
    inside, outside = _bounds(spec, margin), _bounds(spec, margin + spec.hysteresis)
    is_beyond = False
    for value in values:
        low, high = outside if is_beyond else inside
        is_beyond = not low <= value <= high
        yield is_beyond


def _bounds(spec: ThresholdSpec, slack: float) -> tuple[float, float]:
    low = 0.0 if spec.min is None else round(spec.min + slack, DIGITS)
    high = 1.0 if spec.max is None else round(spec.max - slack, DIGITS)
    return low, high


# ── thresholds by target ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LossTarget:
    """A ``max`` that keeps a promise on labelled good clips; see :func:`max_for_loss`."""

    max: float
    clips: int  # good clips
    lost: int  # of them, dropped by ``max``
    bound: float  # upper limit of the share that is lost among all good clips, at the given confidence


def critical_max(verdicts: Sequence[Probabilities], spec: ThresholdSpec) -> float | None:
    """Return the score below which a ``max`` drops the clip: the clip is kept at this ``max`` and dropped below it.

    None without scores. ``hysteresis`` is left out of account.
    """
    values = [value for verdict in verdicts if (value := score(verdict, spec.label)) is not None]
    if not values or len(values) < len(verdicts):
        return None
    allowed = floor(spec.share * len(values) + 1e-9)  # windows that may be beyond the threshold
    return sorted(values, reverse=True)[allowed] if allowed < len(values) else 0.0


def max_for_loss(good: Sequence[float], loss: float, confidence: float = 0.95) -> LossTarget | None:
    """Return the lowest ``max`` that loses at most the share ``loss`` of all good clips, at the given confidence.

    ``good`` holds the :func:`critical_max` of labelled good clips, a fair sample of all. The bound is that of Clopper
    and Pearson ("The use of confidence or fiducial limits", Biometrika 26, 1934) for the number of clips that are lost,
    and as that number is fixed by rank, choosing the threshold on the same clips keeps it. None: there are too few
    clips for the promise; see :func:`least_clips`.
    """
    ordered, count = sorted(good, reverse=True), len(good)
    lost = -1
    while lost + 1 < count and _chance(lost + 1, count, loss) <= 1 - confidence:
        lost += 1
    if lost < 0:
        return None
    limit = ordered[lost]
    below = sum(value > limit for value in ordered)  # fewer than ``lost`` where scores are equal
    return LossTarget(limit, count, below, _upper_bound(below, count, confidence))


def least_clips(loss: float, confidence: float = 0.95) -> int:
    """Return the number of good clips without which no threshold can promise ``loss``: 299 for 1 % at 95 %."""
    return ceil(log(1 - confidence) / log(1 - loss))


def _chance(lost: int, count: int, share: float) -> float:
    """Probability of at most ``lost`` losses among ``count`` clips when the share ``share`` is lost of all."""
    logs = (log(share) * k + log(1 - share) * (count - k) + _log_choose(count, k) for k in range(lost + 1))
    return sum(map(exp, logs))


def _log_choose(count: int, k: int) -> float:
    return lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1)


def _upper_bound(lost: int, count: int, confidence: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _chance(lost, count, middle) > 1 - confidence else (low, middle)
    return high
