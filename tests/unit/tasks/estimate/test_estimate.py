"""The costs that judged videos teach, and estimates of simulated corpora against their later truth."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from storage.errors import UsageError
from tasks.estimate.cost import CostModel, JudgedVideo, VideoSize, fit_costs, spread
from tasks.estimate.estimate import Estimate, Fleet, Prices, Sample, estimate_run

PER_MEGAPIXEL = {"h264": 0.001, "av1": 0.004}
FLEET = Fleet(workers=4, cores=2, is_shared=False)


def video(seconds: float, codec: str = "h264", megapixels_per_second: float = 50.0) -> VideoSize:
    return VideoSize(codec, seconds, seconds * megapixels_per_second, round(seconds * 1e6))


def truth(size: VideoSize, noise: float = 1.0) -> JudgedVideo:
    decode = 0.1 + PER_MEGAPIXEL[size.codec] * size.megapixels
    return JudgedVideo(size, decode * noise, (0.05 + 0.02 * size.duration_seconds) * noise)


def test_costs_are_found_by_pixels_and_codec_and_by_duration() -> None:
    costs = fit_costs([truth(video(seconds, codec)) for codec in PER_MEGAPIXEL for seconds in (2, 5, 20, 60)])
    assert costs.decode_seconds(video(10)) == pytest.approx(0.1 + 0.001 * 500, rel=0.01)
    assert costs.decode_seconds(video(10, "av1")) == pytest.approx(0.1 + 0.004 * 500, rel=0.01)
    assert costs.device_seconds(video(10)) == pytest.approx(0.25, rel=0.01)


def test_a_codec_of_which_no_video_was_judged_costs_what_all_cost_together() -> None:
    costs = fit_costs([truth(video(seconds)) for seconds in (2, 5, 20)])
    assert costs.decode_seconds(video(10, "vp9")) == costs.decode_seconds(video(10))


def test_a_codec_of_which_one_video_was_judged_costs_as_much_more_as_that_one() -> None:
    costs = fit_costs([*(truth(video(seconds)) for seconds in (2, 5, 20, 60)), truth(video(10, "av1"))])
    dear, cheap = costs.decode_seconds(video(30, "av1")), costs.decode_seconds(video(30))
    assert dear == pytest.approx(0.1 + 0.004 * 1500, rel=0.25)
    assert dear > 2.5 * cheap


def test_costs_measured_on_a_noisy_machine_are_right_on_average() -> None:
    random = np.random.default_rng(1)
    sizes = [video(float(seconds)) for seconds in (2, 3, 5, 8, 12, 20, 30, 60)]
    noise = random.lognormal(-0.08, 0.4, (300, len(sizes)))  # of mean 1
    fits = [fit_costs([truth(*pair) for pair in zip(sizes, one, strict=True)]) for one in noise]
    work = sum(truth(size).decode_seconds for size in sizes)
    predicted = [sum(costs.decode_seconds(size) for size in sizes) for costs in fits]
    assert np.mean(predicted) == pytest.approx(work, rel=0.05)


def test_videos_to_judge_are_of_every_codec_and_of_the_smallest_to_the_largest() -> None:
    sizes = [video(seconds) for seconds in range(1, 30)] + [video(3, "av1")]
    chosen = [sizes[index] for index in spread(sizes, 4)]
    assert {one.codec for one in chosen} == {"h264", "av1"}
    assert {1, 29} <= {one.duration_seconds for one in chosen}
    assert sorted(spread(sizes, 100)) == list(range(30))


def replayed(seed: int) -> tuple[Estimate, float, float]:
    """Return the estimate of a corpus of 1,000 videos, and the hours and the finish that it takes in truth."""
    random = np.random.default_rng(seed)
    sizes = [
        video(float(seconds), codec)
        for seconds, codec in zip(random.lognormal(2.3, 1.0, 1000), random.choice(["h264", "av1"], 1000), strict=True)
    ]
    real = [truth(size, noise) for size, noise in zip(sizes, random.lognormal(0, 0.1, 1000), strict=True)]
    sampled = random.choice(1000, 100, replace=False)
    sample = Sample(tuple(sizes[index] for index in sampled))
    judged = [real[sampled[index]] for index in spread(sample.sizes, 12)]
    ends = [0.0] * (FLEET.workers * FLEET.cores)
    for one in real:
        heapq.heapreplace(ends, ends[0] + one.decode_seconds)
    return estimate_run(1000, sample, fit_costs(judged), FLEET, None), sum(r.decode_seconds for r in real), max(ends)


def test_of_100_replays_of_a_corpus_with_heavy_tails_at_least_90_lie_in_the_intervals() -> None:
    replays = [replayed(seed) for seed in range(100)]
    work = [one.decode_core_hours.scaled(3600) for one, _, _ in replays]
    assert sum(b.low <= true <= b.high for b, (_, true, _) in zip(work, replays, strict=True)) >= 90
    assert sum(one.finish_seconds.low <= true <= one.finish_seconds.high for one, _, true in replays) >= 90
    assert np.median([abs(b.middle / true - 1) for b, (_, true, _) in zip(work, replays, strict=True)]) < 0.2


def simple(keep_share: float | None = 0.5, failures: dict[str, int] | None = None) -> Sample:
    return Sample(tuple(video(10) for _ in range(20)), failures or {}, keep_share)


def costs() -> CostModel:
    return fit_costs([truth(video(seconds)) for seconds in (5, 10, 20, 40)])


def test_rows_that_cannot_be_read_cost_nothing_and_are_told() -> None:
    estimate = estimate_run(1000, simple(failures={"object_missing": 20}), costs(), FLEET, None)
    assert estimate.judged_rows == 500
    assert estimate.bytes.middle == pytest.approx(500 * 10e6, rel=0.01)


def test_prices_are_those_of_devices_and_cores_and_per_kept_video() -> None:
    prices = Prices(device_hour=2.0, core_hour=0.1)
    estimate = estimate_run(1000, simple(), costs(), FLEET, prices)
    assert estimate.price is not None
    assert estimate.price_per_1000 == estimate.price
    assert estimate.price_per_1000_kept is not None
    assert estimate.price_per_1000_kept.middle == pytest.approx(2 * estimate.price.middle)
    hours = 2.0 * estimate.device_hours.middle + 0.1 * estimate.decode_core_hours.middle
    assert estimate.price.middle == pytest.approx(hours)
    assert estimate_run(1000, simple(None), costs(), FLEET, prices).price_per_1000_kept is None


def test_models_on_the_decoders_cores_add_their_time() -> None:
    beside = estimate_run(1000, simple(), costs(), Fleet(1, 1, is_shared=False), None).finish_seconds
    shared = estimate_run(1000, simple(), costs(), Fleet(1, 1, is_shared=True), None).finish_seconds
    assert shared.middle == pytest.approx(beside.middle + 1000 * 0.25, rel=0.05)


def test_too_few_readable_videos_are_named_by_code() -> None:
    with pytest.raises(UsageError, match="97 object_missing"):
        estimate_run(1000, Sample((video(1),) * 3, {"object_missing": 97}), costs(), FLEET, None)
