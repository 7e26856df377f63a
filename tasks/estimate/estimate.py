"""An estimate of a run from a sample of its rows: work, bytes, finish and price, each as a 90 % interval. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage.errors import UsageError
from tasks.estimate.cost import CostModel, VideoSize
from tasks.estimate.forecast import LEAST_ROWS, Bounds, RowTimes, seconds_left, work_seconds

HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Sampled rows: the videos that can be read, those that cannot by code, and how many judged ones were kept."""

    sizes: tuple[VideoSize, ...]
    failures: Mapping[str, int] = field(default_factory=dict)
    keep_share: float | None = None  # of the judged videos, where the manifest has thresholds

    @property
    def readable_share(self) -> float:
        """The share of the rows whose video can be read."""
        return len(self.sizes) / max(1, len(self.sizes) + sum(self.failures.values()))


@dataclass(frozen=True, slots=True)
class Fleet:
    """The fleet to estimate for. ``is_shared``: the models run on the cores that decode, as on a CPU."""

    workers: int
    cores: int  # for decoding, of each worker
    is_shared: bool


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of an hour of a worker's device and of a core, in any currency."""

    device_hour: float = 0.0
    core_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take; prices are None where none were given."""

    rows: int
    judged_rows: int  # rows whose video can be read, by the share in the sample
    bytes: Bounds
    device_hours: Bounds
    decode_core_hours: Bounds
    finish_seconds: Bounds
    price: Bounds | None = None
    price_per_1000: Bounds | None = None
    price_per_1000_kept: Bounds | None = None


def estimate_run(rows: int, sample: Sample, costs: CostModel, fleet: Fleet, prices: Prices | None) -> Estimate:
    """Estimate a run of ``rows`` rows. Raises ``UsageError`` if the sample has too few readable videos."""
    if len(sample.sizes) < LEAST_ROWS:
        found = ", ".join(f"{count} {code}" for code, count in sample.failures.items()) or "none failed"
        raise UsageError(
            f"only {len(sample.sizes)} videos of the sample can be read ({found}), and an estimate needs {LEAST_ROWS}: "
            "a larger --sample, or correct the rows"
        )
    judged = round(rows * sample.readable_share)
    error = costs.decode_error(sample.sizes)
    decoding = RowTimes.of([costs.decode_seconds(one) for one in sample.sizes], factor_error=error)
    device = RowTimes.of([costs.device_seconds(one) for one in sample.sizes], factor_error=costs.device.error)
    device_hours = _known(work_seconds(device, judged)).scaled(1 / HOUR_SECONDS)
    core_hours = _known(work_seconds(decoding, judged)).scaled(1 / HOUR_SECONDS)
    price = (
        None if prices is None else _sum(device_hours.scaled(prices.device_hour), core_hours.scaled(prices.core_hour))
    )
    per_video = None if price is None or not rows else price.scaled(1000 / rows)
    kept_share = (sample.keep_share or 0.0) * sample.readable_share
    return Estimate(
        rows=rows,
        judged_rows=judged,
        bytes=_known(work_seconds(RowTimes.of([float(one.size_bytes) for one in sample.sizes]), judged)),
        device_hours=device_hours,
        decode_core_hours=core_hours,
        finish_seconds=_finish(judged, decoding, device, fleet),
        price=price,
        price_per_1000=per_video,
        price_per_1000_kept=per_video.scaled(1 / kept_share) if per_video and kept_share else None,
    )


def _finish(rows: int, decoding: RowTimes, device: RowTimes, fleet: Fleet) -> Bounds:
    """Return the seconds to the last row: the slower of decoding and models, or both where they share the cores."""
    decoded = _known(seconds_left(decoding, rows, fleet.workers * fleet.cores))
    scored = _known(seconds_left(device, rows, fleet.workers))
    if fleet.is_shared:
        return _sum(decoded, scored)
    return Bounds(*map(max, _bounds(decoded), _bounds(scored)))


def _sum(one: Bounds, other: Bounds) -> Bounds:
    return Bounds(one.low + other.low, one.middle + other.middle, one.high + other.high)


def _bounds(one: Bounds) -> Sequence[float]:
    return one.low, one.middle, one.high


def _known(found: Bounds | None) -> Bounds:
    if found is None:
        raise AssertionError("the sample was checked to be large enough")
    return found
