"""Answers of filters from signals: by a bound of one signal, or by a weighted combination of several.

An answer has three outcomes: the label holds, it does not, or *unsure*. A signal that could not be measured makes the
answer unsure, and leaves it without a probability.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, isnan, log
from typing import Annotated, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from inference.signals.registry import BY_NAME, NAMES

UNSURE = "unsure"  # the third label
LOW, HIGH = 0.25, 0.75  # probabilities at the edges of a bound's band
MAX_DEVIATION = 5.0  # of a standardised value: one absurd value must not decide alone


@dataclass(frozen=True, slots=True)
class RuleAnswer:
    """The probability of a rule's label, None if it could not be measured; ``is_unsure`` is the third outcome."""

    probability: float | None
    is_unsure: bool


class Rule(Protocol):
    """Turns the signals of a span into an answer."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what decides."""
        ...

    def answer(self, values: Mapping[str, float]) -> RuleAnswer:
        """RuleAnswer for the values of :data:`inference.signals.NAMES`."""
        ...


@dataclass(frozen=True)  # without slots: the cached property needs a dict
class SignalBound:
    """A label that holds above ``maximum`` or below ``minimum`` of a signal, and is unsure within ``unsure`` of it.

    The probability is a logistic function of the distance, 0.5 at the bound and 0.25 or 0.75 at the edges of the band.
    It orders clips; it is not calibrated.
    """

    signal: str
    minimum: float | None
    maximum: float | None
    unsure: float

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the signal and its bounds."""
        return hashlib.sha256(repr((self.signal, self.minimum, self.maximum, self.unsure)).encode()).hexdigest()

    def answer(self, values: Mapping[str, float]) -> RuleAnswer:
        """RuleAnswer by the distance from the nearer bound."""
        value = values[self.signal]
        if isnan(value):
            return RuleAnswer(None, is_unsure=True)
        below = [self.minimum - value] if self.minimum is not None else []
        above = [value - self.maximum] if self.maximum is not None else []
        beyond = max(below + above)
        if self.unsure == 0:
            return RuleAnswer(float(beyond > 0), is_unsure=False)
        return RuleAnswer(_logistic(beyond * log(HIGH / LOW) / self.unsure), is_unsure=abs(beyond) < self.unsure)


_Numbers = Annotated[tuple[float, ...], Field(min_length=1)]
_Label = Annotated[str, Field(min_length=1, max_length=64)]


class Combination(BaseModel):
    """Logistic regression on standardised signals, as a checkpoint of a few kilobytes holds it.

    ``sigmoid((intercept + sum(coefficients * z)) / temperature)`` with ``z = (value - mean) / scale`` limited to ± 5 is
    the probability of the first label. An input with a floor counts as ``log(max(value, 0) + floor)``: speeds differ by
    their ratio. One that was not measured counts as its mean, unless it is ``required``: then the answer is unsure. So
    is a probability between ``low`` and ``high``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["tamis-signals-1"] = "tamis-signals-1"
    labels: tuple[_Label, _Label]
    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    mean: _Numbers
    scale: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    coefficients: _Numbers
    log_floors: tuple[Annotated[float, Field(gt=0)] | None, ...] = ()  # of every input; empty: none has one
    intercept: float
    temperature: Annotated[float, Field(gt=0)] = 1.0
    low: Annotated[float, Field(ge=0, le=1)] = 0.5
    high: Annotated[float, Field(ge=0, le=1)] = 0.5
    required: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if unknown := [name for name in self.inputs if name not in BY_NAME]:
            raise ValueError(f"inputs {', '.join(unknown)} are no signals; there are: {', '.join(NAMES)}")
        if strangers := sorted(set(self.required) - set(self.inputs)):
            raise ValueError(f"required {', '.join(strangers)} are not among the inputs")
        columns = [self.mean, self.scale, self.coefficients, *([self.log_floors] if self.log_floors else [])]
        if any(len(column) != len(self.inputs) for column in columns):
            raise ValueError("inputs, mean, scale, coefficients and log_floors must be of one length")
        if self.low > self.high:
            raise ValueError(f"low = {self.low} is above high = {self.high}")
        return self

    @property
    def floors(self) -> tuple[float | None, ...]:
        """The floor of every input's logarithm, None without one."""
        return self.log_floors or (None,) * len(self.inputs)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content, whatever its layout in a file."""
        unused = None if self.log_floors else {"log_floors"}  # the digest is that of before there were any
        return hashlib.sha256(self.model_dump_json(exclude=unused).encode()).hexdigest()

    def answer(self, values: Mapping[str, float]) -> RuleAnswer:
        """RuleAnswer by the weighted sum."""
        if any(isnan(values[name]) for name in self.required):
            return RuleAnswer(None, is_unsure=True)
        inputs = [scaled(values[name], floor) for name, floor in zip(self.inputs, self.floors, strict=True)]
        parts = zip(inputs, self.mean, self.scale, self.coefficients, strict=True)
        total = sum(weight * _standardised(value, mean, scale) for value, mean, scale, weight in parts)
        probability = _logistic((self.intercept + total) / self.temperature)
        return RuleAnswer(probability, is_unsure=self.low < probability < self.high)


def scaled(value: float, floor: float | None) -> float:
    """``value``, or its logarithm above a floor; NaN stays NaN."""
    return value if floor is None or isnan(value) else log(max(value, 0.0) + floor)


def _standardised(value: float, mean: float, scale: float) -> float:
    return 0.0 if isnan(value) else max(-MAX_DEVIATION, min(MAX_DEVIATION, (value - mean) / scale))


def _logistic(value: float) -> float:
    limited = max(-60.0, min(60.0, value))  # exp overflows beyond 700
    return 1 / (1 + exp(-limited))
