"""The part of a filter's entry that says how signals judge; :mod:`inference.signals.rules` answers by it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from inference.manifest.fields import Key, Label, Sha256, StrictModel, Weights, check_distinct, parse_seed
from inference.signals.registry import BY_NAME


class SignalSpec(StrictModel):
    """A filter's rule over signals: a bound of the signal ``name``, or the combination in a checkpoint."""

    name: Key | None = None
    min: float | None = None  # below it the first label holds; without min and max, the signal's own bound
    max: float | None = None  # above it the first label holds
    unsure: Annotated[float, Field(ge=0)] | None = None  # half the width of the band without an answer
    weights: Weights | None = None
    sha256: Sha256 | None = None
    labels: Annotated[tuple[Label, Label], AfterValidator(check_distinct)] | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.name is None) == (self.weights is None):
            raise ValueError("give name, of one signal, or weights, of a combination")
        if self.name is not None and self.name not in BY_NAME:
            raise ValueError(f"signal {self.name!r} is not known; there are: {', '.join(BY_NAME)}")
        if self.weights is not None and (self.labels is None or (self.min, self.max, self.unsure) != (None,) * 3):
            raise ValueError("a combination needs labels, and has its bounds in its checkpoint, not here")
        if self.weights is not None and parse_seed(self.weights) is not None:
            raise ValueError("a combination has no seeded weights; give the path of a checkpoint")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        return self

    @property
    def all_labels(self) -> tuple[Label, Label]:
        """The label that holds beyond the bound, and the one that holds otherwise."""
        if self.labels is not None:
            return self.labels
        return (BY_NAME[self.name].label if self.name else "", "normal_video")
