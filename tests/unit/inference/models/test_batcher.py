from __future__ import annotations

import logging
import threading
import weakref
from concurrent.futures import wait

import numpy as np
import pytest
import torch

from inference.errors import BadVideo, DeviceLost, Transient
from inference.models.batcher import Batcher, Batching

TIMEOUT_SECONDS = 30


def clip(value: int) -> torch.Tensor:
    return torch.full((2, 4, 4, 3), value, dtype=torch.uint8)


class RecordingScorer:
    """Scores a clip by its first pixel; keeps its batches. 255 fails, 254 gives NaN."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []  # (clips, padded size)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.failure: Exception | None = None
        self.fitting: int | None = None  # larger batches do not fit into memory

    def __call__(self, clips, heads, size):
        self.entered.set()
        assert self.gate.wait(TIMEOUT_SECONDS)
        self.batches.append((len(clips), size))
        if self.failure is not None:
            raise self.failure
        if self.fitting is not None and size > self.fitting:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        values = [int(one[0, 0, 0, 0]) for one in clips]
        if 255 in values:
            raise RuntimeError("a clip no model can take")
        return [{head: answer(value) for head in wanted} for value, wanted in zip(values, heads, strict=True)]


def answer(value: int) -> np.ndarray:
    return np.array([np.nan if value == 254 else value / 255, 0.5], dtype=np.float32)


@pytest.fixture
def score():
    return RecordingScorer()


@pytest.fixture
def open_batcher(score):
    opened: list[Batcher] = []

    def open_one(**options) -> Batcher:
        defaults = {"buckets": (1, 2, 4), "max_wait_seconds": 0.001, "timeout_seconds": TIMEOUT_SECONDS}
        opened.append(Batcher("base", score, Batching(**{**defaults, **options})))
        return opened[-1]

    yield open_one
    score.gate.set()
    for one in opened:
        one.close()


def blocked(batcher: Batcher, score: RecordingScorer):
    """Keep the device busy with one clip, so that later clips stay in the queue."""
    score.gate.clear()
    score.entered.clear()
    future = batcher.submit(clip(0), ["vfx"])
    assert score.entered.wait(TIMEOUT_SECONDS)
    return future


def test_clips_that_wait_together_run_as_one_batch_padded_to_a_bucket(open_batcher, score):
    batcher = open_batcher()
    blocked(batcher, score)
    futures = [batcher.submit(clip(value), ["vfx"]) for value in (10, 20, 30)]
    score.gate.set()
    assert [round(float(one.result(TIMEOUT_SECONDS)["vfx"][0] * 255)) for one in futures] == [10, 20, 30]
    assert score.batches == [(1, 1), (3, 4)]
    counters = batcher.counters()
    assert (counters.batches, counters.clips, counters.padding, counters.queued) == (2, 4, 1, 0)


def test_a_batch_is_never_larger_than_the_largest_bucket(open_batcher, score):
    batcher = open_batcher()
    blocked(batcher, score)
    futures = [batcher.submit(clip(value), ["vfx"]) for value in range(1, 8)]
    score.gate.set()
    wait(futures, TIMEOUT_SECONDS)
    assert score.batches == [(1, 1), (4, 4), (3, 4)]


def test_two_runners_run_two_batches_at_once(open_batcher, score):
    together = threading.Barrier(3, timeout=TIMEOUT_SECONDS)

    def meet(clips, heads, size):
        together.wait()
        return score(clips, heads, size)

    batcher = Batcher("base", meet, Batching(buckets=(1,), max_wait_seconds=0.001, runners=2))
    futures = [batcher.submit(clip(value), ["vfx"]) for value in (10, 20)]
    together.wait()  # both batches have begun and neither has ended
    assert [round(float(one.result(TIMEOUT_SECONDS)["vfx"][0] * 255)) for one in futures] == [10, 20]
    batcher.close()


def test_a_batch_leaves_the_other_runner_its_share(open_batcher, score):
    batcher = open_batcher(runners=2, max_wait_seconds=TIMEOUT_SECONDS)
    score.gate.clear()
    futures = [batcher.submit(clip(value), ["vfx"]) for value in (10, 20, 30, 40)]  # as many as the largest batch
    assert score.entered.wait(TIMEOUT_SECONDS)
    assert batcher.counters().queued == 2
    score.gate.set()
    batcher.close()
    assert all(one.done() for one in futures)


def test_a_clip_that_fails_the_model_fails_alone(open_batcher, score):
    batcher = open_batcher()
    blocked(batcher, score)
    good, poison, also_good = (batcher.submit(clip(value), ["vfx"]) for value in (10, 255, 30))
    score.gate.set()
    with pytest.raises(RuntimeError, match="a clip no model can take"):
        poison.result(TIMEOUT_SECONDS)
    assert good.result(TIMEOUT_SECONDS)["vfx"][1] == also_good.result(TIMEOUT_SECONDS)["vfx"][1] == 0.5
    assert batcher.counters().failures == 1


def test_scores_that_are_not_finite_are_a_bad_video_for_their_clip_only(open_batcher, score):
    batcher = open_batcher()
    blocked(batcher, score)
    good, broken = (batcher.submit(clip(value), ["vfx"]) for value in (10, 254))
    score.gate.set()
    with pytest.raises(BadVideo, match="the scores of vfx are not finite") as caught:
        broken.result(TIMEOUT_SECONDS)
    assert caught.value.code == "scores_not_finite"
    assert np.isfinite(good.result(TIMEOUT_SECONDS)["vfx"]).all()


def test_a_memory_without_room_for_one_clip_is_transient(open_batcher, score):
    batcher = open_batcher()
    blocked(batcher, score)
    futures = [batcher.submit(clip(value), ["vfx"]) for value in (10, 20)]
    score.failure = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    score.gate.set()
    for future in futures:
        with pytest.raises(Transient, match="memory is full") as caught:
            future.result(TIMEOUT_SECONDS)
        assert not isinstance(caught.value, DeviceLost)
    assert score.batches == [(1, 1), (2, 2), (1, 1), (1, 1)]
    score.failure = None
    assert batcher.submit(clip(10), ["vfx"]).result(TIMEOUT_SECONDS)


def test_a_batch_that_does_not_fit_is_run_in_halves_and_later_ones_are_smaller(open_batcher, score, caplog):
    score.fitting = 2
    batcher = open_batcher(buckets=(1, 2, 4, 8))
    blocked(batcher, score)
    futures = [batcher.submit(clip(value), ["vfx"]) for value in range(1, 8)]
    score.gate.set()
    assert [round(float(one.result(TIMEOUT_SECONDS)["vfx"][0] * 255)) for one in futures] == list(range(1, 8))
    # 7 clips fill 8 places: halves of 4 and 3, and each of those again
    assert score.batches[1:] == [(7, 8), (4, 4), (2, 2), (2, 2), (3, 4), (2, 2), (1, 1)]
    assert "does not fit into memory; batches of at most 2 from now on" in caplog.text
    counters = batcher.counters()
    assert (counters.memory_full, counters.max_batch, counters.failures) == (3, 2, 0)

    blocked(batcher, score)
    wait([batcher.submit(clip(value), ["vfx"]) for value in range(4)] + unblock(score), TIMEOUT_SECONDS)
    assert score.batches[-3:] == [(1, 1), (2, 2), (2, 2)]


def unblock(score: RecordingScorer) -> list:
    score.gate.set()
    return []


def test_larger_batches_are_tried_again_after_enough_that_fitted(open_batcher, score):
    score.fitting = 1
    batcher = open_batcher(buckets=(1, 2), recovery_batches=3)
    blocked(batcher, score)
    futures = [batcher.submit(clip(value), ["vfx"]) for value in (1, 2)]
    score.gate.set()
    wait(futures, TIMEOUT_SECONDS)
    assert batcher.counters().max_batch == 1
    score.fitting = None
    batcher.submit(clip(3), ["vfx"]).result(TIMEOUT_SECONDS)  # the third that fits: two halves came before
    assert batcher.counters().max_batch == 2


def test_a_clip_that_fails_the_model_fails_alone_in_a_batch_that_does_not_fit(open_batcher, score):
    score.fitting = 1
    batcher = open_batcher(buckets=(1, 2))
    blocked(batcher, score)
    good, poison = (batcher.submit(clip(value), ["vfx"]) for value in (10, 255))
    score.gate.set()
    with pytest.raises(RuntimeError, match="a clip no model can take"):
        poison.result(TIMEOUT_SECONDS)
    assert good.result(TIMEOUT_SECONDS)["vfx"][1] == 0.5


def test_a_failed_batch_holds_no_memory_while_its_halves_run(open_batcher):
    held: list[weakref.ref] = []
    alive: list[int] = []

    def score(clips, heads, size):
        alive.append(sum(one() is not None for one in held))
        activations = torch.zeros(size)
        held.append(weakref.ref(activations))
        if size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [{head: answer(0) for head in wanted} for wanted in heads]

    batcher = Batcher("base", score, Batching(buckets=(1, 2), max_wait_seconds=TIMEOUT_SECONDS))
    futures = [batcher.submit(clip(0), ["vfx"]) for _ in range(2)]
    wait(futures, TIMEOUT_SECONDS)
    batcher.close()
    assert alive == [0, 0, 0]


def test_a_lost_device_fails_queued_and_later_clips(open_batcher, score):
    batcher = open_batcher(buckets=(1,))
    first = blocked(batcher, score)
    waiting = batcher.submit(clip(1), ["vfx"])
    score.failure = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    score.gate.set()
    for future in (first, waiting):
        with pytest.raises(DeviceLost, match="restart this worker"):
            future.result(TIMEOUT_SECONDS)
    with pytest.raises(DeviceLost):
        batcher.submit(clip(1), ["vfx"])
    assert score.batches == [(1, 1)]


def test_submitting_to_a_full_queue_waits_then_gives_up(open_batcher, score):
    batcher = open_batcher(queue_clips=2, timeout_seconds=0.02)
    blocked(batcher, score)
    for _ in range(2):
        batcher.submit(clip(1), ["vfx"])
    with pytest.raises(Transient, match=r"stayed full for 0.02 s"):
        batcher.submit(clip(1), ["vfx"])
    assert batcher.counters().queued == 2


def test_a_cancelled_clip_is_not_run(open_batcher, score):
    batcher = open_batcher()
    blocked(batcher, score)
    unwanted, wanted = (batcher.submit(clip(value), ["vfx"]) for value in (10, 20))
    assert unwanted.cancel()
    score.gate.set()
    wanted.result(TIMEOUT_SECONDS)
    assert score.batches == [(1, 1), (1, 1)]


def test_closing_answers_what_is_queued_and_takes_no_more(open_batcher, score):
    batcher = open_batcher(max_wait_seconds=TIMEOUT_SECONDS)
    futures = [batcher.submit(clip(value), ["vfx"]) for value in (10, 20)]
    batcher.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(Transient, match="the batcher of base is closed"):
        batcher.submit(clip(1), ["vfx"])
    batcher.close()


def test_warming_up_runs_every_bucket(open_batcher, score):
    open_batcher().warm_up(clip(0), ["vfx"])
    assert score.batches == [(1, 1), (2, 2), (4, 4)]


def test_warming_up_stops_at_the_size_that_does_not_fit(open_batcher, score, caplog):
    score.fitting = 2
    batcher = open_batcher(buckets=(1, 2, 4, 8))
    with caplog.at_level(logging.INFO):
        batcher.warm_up(clip(0), ["vfx"])
    assert score.batches == [(1, 1), (2, 2), (4, 4)]
    assert batcher.counters().max_batch == 2
    assert "base: the first batch of 2 took" in caplog.text


def test_warming_up_without_room_for_a_single_clip_fails(open_batcher, score):
    score.fitting = 0
    with pytest.raises(torch.OutOfMemoryError):
        open_batcher().warm_up(clip(0), ["vfx"])


def test_six_threads_get_the_scores_of_their_own_clips(open_batcher, score):
    batcher = open_batcher()
    wrong: list[int] = []

    def submit(own: int) -> None:
        futures = [batcher.submit(clip(own), ["vfx"]) for _ in range(20)]
        scores = [round(float(one.result(TIMEOUT_SECONDS)["vfx"][0] * 255)) for one in futures]
        wrong.extend(score for score in scores if score != own)

    threads = [threading.Thread(target=submit, args=(own * 10,)) for own in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert batcher.counters().clips == 120


@pytest.mark.parametrize("buckets", [(), (2, 1), (0, 1), (1, 1)])
def test_buckets_that_are_not_ascending_from_1_are_refused(buckets):
    with pytest.raises(ValueError, match="must be ascending whole numbers"):
        Batching(buckets=buckets)


def test_a_queue_without_room_is_refused():
    with pytest.raises(ValueError, match="queue_clips = 0"):
        Batching(queue_clips=0)


def test_a_batcher_without_a_runner_is_refused():
    with pytest.raises(ValueError, match="runners = 0"):
        Batching(runners=0)
