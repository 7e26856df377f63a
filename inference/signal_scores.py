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
class SignalScores:
    """Output key -> scores, and the signals of the whole video and of every window that an output judges."""

    scores: Mapping[str, Sequence[Scores]]
    whole: Values
    windows: Mapping[Span, Values]


def score_signals(decoded: DecodedVideo, outputs: Iterable[Output], rules: Mapping[str, Rule]) -> SignalScores:
    """Measure a video that was decoded with the signals' requests, and answer ``outputs`` by the filters' ``rules``."""
    analysis, duration = analyse(decoded), decoded.probe.duration_seconds
    whole, spans = analysis.values(), dict[Span, Values]()
    scores: dict[str, Sequence[Scores]] = {}
    for output in outputs:
        judged: dict[Span, Values] = {(0.0, duration): whole}
        if output.is_segmented:
            chosen = windows(duration, output.request.window_seconds, output.request.overlap_seconds)
            spans |= {span: analysis.values(*span) for span in chosen if span not in spans}
            judged = {span: spans[span] for span in chosen}
        rule = rules[output.filter]
        scores[output.key] = [_scores(span, rule.answer(values), output) for span, values in judged.items()]
    return SignalScores(scores, whole, spans)


def _scores(span: Span, answer: RuleAnswer, output: Output) -> Scores:
    probability, (label, other) = answer.probability, output.labels
    probabilities = {} if probability is None else {label: probability, other: 1 - probability}
    return Scores(*span, probabilities, is_unsure=answer.is_unsure)
