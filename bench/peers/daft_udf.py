"""Daft's native runner: a UDF of one file a batch, with as many threads as cores around one judge."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import daft

from bench.peers.job import JOBS, Job, warm_up
from bench.peers.serving import JudgeAll, serve
from inference.cores import usable_cores


@contextmanager
def opened(job: Job) -> Iterator[JudgeAll]:
    """Warm the judge; Daft itself starts with the first query."""
    cores = usable_cores()
    warm_up(job, cores)

    @daft.udf(return_dtype=daft.DataType.string(), batch_size=1, concurrency=cores, use_process=False)
    def judged(paths: daft.Series) -> list[str]:
        return [json.dumps(job(path)) for path in paths.to_pylist()]

    def judge_all(paths: list[str]) -> list[Any]:
        frame = daft.from_pydict({"path": paths})
        answers = frame.select(judged(daft.col("path")).alias("row")).to_pydict()["row"]
        return [json.loads(text) for text in answers]

    yield judge_all


if __name__ == "__main__":
    serve(opened(JOBS[sys.argv[1]]))
