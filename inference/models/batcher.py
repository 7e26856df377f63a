"""Batching for one backbone, across videos, windows and threads.

There is one bounded queue. A runner is a thread that forms batches and a thread that runs them: one for a GPU, one per
core on a CPU, where two batches at once on two cores are faster than one batch over both. Callers get futures. A batch
that does not fit into the device's memory is run in halves, and later batches are smaller (:class:`BatchLimit`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from inference.errors import BadVideo, DeviceLost, Transient, VideoFault
from inference.models.device import device_fault, give_back_memory, is_memory_full
from inference.models.networks.video_model import Probabilities

logger = logging.getLogger(__name__)

Answer = Mapping[str, Probabilities]  # head -> probabilities (labels,)
Score = Callable[[Sequence[Tensor], Sequence[Sequence[str]], int], Sequence[Answer]]


@dataclass(frozen=True, slots=True)
class Batching:
    """Parameters for gathering clips into batches."""

    buckets: tuple[int, ...] = (1, 2, 4, 8, 16)  # batch sizes, ascending; a batch is padded to the next size
    max_wait_seconds: float = 0.005  # that a clip waits for more clips
    queue_clips: int = 64  # with so many clips queued, submit() waits
    timeout_seconds: float = 300.0  # for a place in the queue, and for the result
    recovery_batches: int = 1000  # smaller batches after a full memory, before a larger one is tried again
    runners: int = 1  # batches that run at once

    def __post_init__(self) -> None:
        if not self.buckets or list(self.buckets) != sorted(set(self.buckets)) or self.buckets[0] < 1:
            raise ValueError(f"buckets = {self.buckets} must be ascending whole numbers from 1 on")
        if self.queue_clips < 1:
            raise ValueError(f"queue_clips = {self.queue_clips} must be at least 1")
        if self.runners < 1:
            raise ValueError(f"runners = {self.runners} must be at least 1")

    @property
    def max_batch(self) -> int:
        """The largest number of clips in a batch."""
        return self.buckets[-1]

    def bucket(self, count: int) -> int:
        """The smallest batch size that holds ``count`` clips."""
        return next(size for size in self.buckets if size >= count)


@dataclass(frozen=True, slots=True)
class BatchCounters:
    """Counts of a batcher since its start, and its current queue."""

    batches: int = 0
    clips: int = 0
    padding: int = 0  # clips run only to fill a bucket
    failures: int = 0  # clips that ended with an error
    queued: int = 0  # clips in the queue now
    memory_full: int = 0  # batches that did not fit and were run in halves
    max_batch: int = 0  # current limit of a batch: less than the largest bucket after a full memory


@dataclass(eq=False, slots=True)
class _Job:
    clip: Tensor
    heads: tuple[str, ...]
    future: Future[Answer] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)


class Batcher:
    """Runs ``score`` on batches. Thread-safe; :meth:`close` runs what is queued and ends the threads."""

    def __init__(self, name: str, score: Score, batching: Batching) -> None:
        self.name = name
        self._score = score
        self._batching = batching
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._lost: DeviceLost | None = None
        self._counters = BatchCounters()
        self._limit = BatchLimit(batching.buckets, batching.recovery_batches)
        # An executor, because its futures carry every exception of the model without a broad except here.
        self._device = ThreadPoolExecutor(batching.runners, thread_name_prefix=f"device-{name}")
        self._gatherers = [
            threading.Thread(target=self._serve, name=f"batcher-{name}-{place}", daemon=True)
            for place in range(batching.runners)
        ]
        for gatherer in self._gatherers:
            gatherer.start()

    @property
    def runners(self) -> int:
        """Batches that run at once."""
        return self._batching.runners

    def submit(self, clip: Tensor, heads: Sequence[str]) -> Future[Answer]:
        """Queue a host clip ``(T, H, W, 3)`` uint8 for ``heads``; waits while the queue is full.

        The future raises BadVideo (scores not finite), Transient or DeviceLost, or what the model raised.

        Raises:
            Transient: the queue stayed full, or the batcher is closed.
            DeviceLost: the device failed earlier.
        """
        job = _Job(clip, tuple(heads))
        with self._changed:
            if not self._changed.wait_for(self._takes_jobs, self._batching.timeout_seconds):
                raise Transient(f"the queue of {self.name} stayed full for {self._batching.timeout_seconds} s; retry")
            if self._lost is not None:
                raise DeviceLost(str(self._lost))
            if self._is_closed:
                raise Transient(f"the batcher of {self.name} is closed; retry on another worker")
            self._jobs.append(job)
            self._changed.notify_all()
        return job.future

    def warm_up(self, clip: Tensor, heads: Sequence[str]) -> None:
        """Run one batch of every bucket size that fits, as first calls are slow; log the seconds of each."""
        for size in self._batching.buckets:
            started = time.monotonic()
            outcome = self._device.submit(self._score, [clip] * size, [tuple(heads)] * size, size)
            if size > self._batching.buckets[0] and is_memory_full(outcome.exception()):
                self._shrink(size, outcome.exception())
                return
            outcome.result()
            logger.info("%s: the first batch of %d took %.2f s", self.name, size, time.monotonic() - started)

    def counters(self) -> BatchCounters:
        """The current counters."""
        with self._changed:
            done = self._counters
            return replace(done, queued=len(self._jobs), max_batch=self._limit.clips)

    def close(self) -> None:
        """Refuse new clips, run the queued ones, end the threads. A second call does nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for gatherer in self._gatherers:
            gatherer.join()
        self._device.shutdown()

    def _takes_jobs(self) -> bool:
        return len(self._jobs) < self._batching.queue_clips or self._is_closed or self._lost is not None

    def _serve(self) -> None:
        while (jobs := self._gather()) is not None:
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if running:
                self._run(running)

    def _gather(self) -> list[_Job] | None:
        """The next batch, a fair share for each runner; None when the queue is closed and empty."""
        jobs: list[_Job] = []
        with self._changed:
            while not jobs:  # another runner may have taken what this one waited for
                self._changed.wait_for(lambda: self._jobs or self._is_closed)
                if not self._jobs:
                    return None
                wait_seconds = self._jobs[0].submitted + self._batching.max_wait_seconds - time.monotonic()
                self._changed.wait_for(self._is_full, max(0.0, wait_seconds))
                share = -(-len(self._jobs) // self._batching.runners)
                jobs = [self._jobs.popleft() for _ in range(min(share, self._limit.clips))]
            self._changed.notify_all()
        return jobs

    def _is_full(self) -> bool:
        return len(self._jobs) >= min(self._limit.clips, self._batching.queue_clips) or self._is_closed

    def _run(self, jobs: Sequence[_Job]) -> None:
        size = self._batching.bucket(len(jobs))
        if self._lost is not None:
            self._fail(jobs, DeviceLost(str(self._lost)))
            return
        outcome = self._device.submit(self._score, [job.clip for job in jobs], [job.heads for job in jobs], size)
        error = outcome.exception()
        if error is None:
            self._deliver(jobs, outcome.result(), size)
        elif len(jobs) > 1 and is_memory_full(error):
            self._halve(jobs, size, error)
        else:
            self._recover(jobs, error)

    def _halve(self, jobs: Sequence[_Job], size: int, error: BaseException) -> None:
        self._shrink(size, error)
        half = (len(jobs) + 1) // 2
        self._run(jobs[:half])
        self._run(jobs[half:])

    def _shrink(self, size: int, error: BaseException | None) -> None:
        with self._changed:
            self._limit.lower(size)
        self._count(memory_full=1)
        logger.warning(
            "%s: a batch of %d clips does not fit into memory; batches of at most %d from now on (%s)",
            *(self.name, size, self._limit.clips, error),
        )
        if error is not None:
            traceback.clear_frames(error.__traceback__)  # the frames hold the failed batch's tensors
        give_back_memory()  # free blocks too small for this batch may become one that fits the next

    def _deliver(self, jobs: Sequence[_Job], answers: Sequence[Answer], size: int) -> None:
        self._count(batches=1, clips=len(jobs), padding=size - len(jobs))
        with self._changed:
            is_raised = self._limit.fitted()
        if is_raised:
            logger.info("%s: batches of up to %d clips are tried again", self.name, self._limit.clips)
        for job, answer in zip(jobs, answers, strict=True):
            if unfit := [head for head, scores in answer.items() if not np.isfinite(scores).all()]:
                message = f"the scores of {', '.join(unfit)} are not finite on this video"
                self._fail([job], BadVideo(VideoFault.SCORES_NOT_FINITE, message))
            else:
                job.future.set_result(answer)

    def _recover(self, jobs: Sequence[_Job], error: BaseException) -> None:
        fault = device_fault(error)
        if isinstance(fault, DeviceLost):
            with self._changed:
                self._lost = fault
                self._changed.notify_all()
        elif len(jobs) > 1:  # one at a time: only the faulty clip keeps its error
            for job in jobs:
                self._run([job])
            return
        self._fail(jobs, fault or error)

    def _fail(self, jobs: Sequence[_Job], error: BaseException) -> None:
        self._count(failures=len(jobs))
        for job in jobs:
            job.future.set_exception(error)

    def _count(self, **more: int) -> None:
        with self._changed:
            old = self._counters
            self._counters = replace(old, **{name: getattr(old, name) + count for name, count in more.items()})


class BatchLimit:
    """The largest batch size to run: the largest bucket, until a batch of it does not fit into memory.

    The limit rises again one bucket at a time, each after ``recovery_batches`` batches that fitted: the other user of
    the memory (another model or process) may have ended, and a failed try costs one batch in that many.
    """

    def __init__(self, buckets: Sequence[int], recovery_batches: int) -> None:
        self._buckets = tuple(buckets)
        self._recovery_batches = recovery_batches
        self._place = len(buckets) - 1
        self._fitted = 0  # batches since the limit last moved

    @property
    def clips(self) -> int:
        """The current limit."""
        return self._buckets[self._place]

    def lower(self, size: int) -> None:
        """Lower the limit to the bucket below ``size``, which did not fit, or to the smallest."""
        below = [place for place, bucket in enumerate(self._buckets) if bucket < size]
        self._place = min(self._place, below[-1] if below else 0)
        self._fitted = 0

    def fitted(self) -> bool:
        """Count a batch that fitted; return True if that raised the limit."""
        self._fitted += 1
        if self._place + 1 == len(self._buckets) or self._fitted < self._recovery_batches:
            return False
        self._place += 1
        self._fitted = 0
        return True
