"""The bare pool: as many processes as cores, each with warm models, and nothing that survives a fault."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier

from bench.peers.job import JOBS, Job, warm_up
from bench.peers.serving import JudgeAll, serve
from inference.cores import usable_cores

_barrier: Barrier | None = None


@contextmanager
def opened(job: Job) -> Iterator[JudgeAll]:
    """Open the pool; every process is warm."""
    context, size = multiprocessing.get_context("spawn"), usable_cores()
    with context.Pool(size, _open, (context.Barrier(size), job)) as pool:
        pool.map(_meet, range(size), chunksize=1)
        yield lambda paths: pool.map(job, paths, chunksize=1)


def _open(barrier: Barrier, job: Job) -> None:
    global _barrier  # noqa: PLW0603 -- a pool's initializer has no other way to hand something to its tasks
    _barrier = barrier
    warm_up(job)


def _meet(_number: int) -> None:
    """Wait until every process has come this far, so that none is still loading."""
    assert _barrier is not None  # noqa: S101 -- set by the initializer
    _barrier.wait()


if __name__ == "__main__":
    serve(opened(JOBS[sys.argv[1]]))
