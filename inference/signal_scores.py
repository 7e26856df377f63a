"""Scores of the filters that signals judge, and the signals that are written beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference.decode.frames.sampling import windows
from inference.manifest import Output
from inference.signals import analyse
from inference.signals.rules import Rule, RuleAnswer
from inference.types import DecodedVideo, Scores

Span = tuple[float, float]  # start and end in seconds
Values = Mapping[str, float]  # signal -> value


@dataclass(frozen=True, slots=True)
class SignalValues:
    """The signals of the whole video, and of every window that an output judges."""

    whole: Values
    windows: Mapping[Span, Values]


def measure_signals(decoded: DecodedVideo, outputs: Iterable[Output]) -> SignalValues:
    """Measure a video that was decoded with the signals' requests, in the spans of ``outputs``."""
    analysis = analyse(decoded)
    spans: dict[Span, Values] = {}
    for output in outputs:
        chosen = spans_of(output, decoded.probe.duration_seconds)
        spans |= {span: analysis.values(*span) for span in chosen if span not in spans}
    return SignalValues(analysis.values(), spans)


def score_signals(
    values: SignalValues, duration_seconds: float, outputs: Iterable[Output], rules: Mapping[str, Rule]
) -> dict[str, Sequence[Scores]]:
    """Answer ``outputs`` by the filters' ``rules``: output key -> scores."""
    scores: dict[str, Sequence[Scores]] = {}
    for output in outputs:
        judged: Mapping[Span, Values] = {(0.0, duration_seconds): values.whole}
        if output.is_segmented:
            judged = {span: values.windows[span] for span in spans_of(output, duration_seconds)}
        rule = rules[output.filter]
        scores[output.key] = [_scores(span, rule.answer(found), output) for span, found in judged.items()]
    return scores


def spans_of(output: Output, duration_seconds: float) -> Sequence[Span]:
    """Return the windows that the output judges; none if it judges the whole video."""
    if not output.is_segmented:
        return []
    return windows(duration_seconds, output.request.window_seconds, output.request.overlap_seconds)


def _scores(span: Span, answer: RuleAnswer, output: Output) -> Scores:
    probability, (label, other) = answer.probability, output.labels
    probabilities = {} if probability is None else {label: probability, other: 1 - probability}
    return Scores(*span, probabilities, is_unsure=answer.is_unsure)
