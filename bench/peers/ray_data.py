"""Ray Data: a task for each file in as many worker processes as cores, which keep their judge."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from bench.peers.job import JOBS, Job, clips
from bench.peers.serving import JudgeAll, serve
from inference.cores import usable_cores


@contextmanager
def opened(job: Job) -> Iterator[JudgeAll]:
    """Start Ray and judge a few files, so that its workers hold their models."""
    cores = usable_cores()
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)

    def judge_all(paths: list[str]) -> list[Any]:
        rows = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=len(paths))
        answers = rows.map(lambda row: {"row": json.dumps(job(row["path"]))})  # columns would turn 3 into 3.0
        return [json.loads(one["row"]) for one in answers.take_all()]

    judge_all([str(path) for path in clips(True)] * cores)
    yield judge_all
    ray.shutdown()


if __name__ == "__main__":
    serve(opened(JOBS[sys.argv[1]]))
