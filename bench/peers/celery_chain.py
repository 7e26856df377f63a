"""A plain Celery chain on Redis, as a first fleet is written: read, then judge, in one worker of prefork children."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery, chain
from celery.result import AsyncResult
from celery.signals import worker_process_init

from bench.peers.job import JOBS, Row, clips, warm_up
from bench.peers.serving import JudgeAll, serve
from inference.cores import usable_cores
from tests.valkey import valkey_server

URL, JOB = "BENCH_URL", "BENCH_JOB"  # environment variables of the worker
LOAD_SECONDS = 300.0

app = Celery("bench.peers.celery_chain", broker=os.environ.get(URL), backend=os.environ.get(URL))
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, worker_proc_alive_timeout=LOAD_SECONDS)


@worker_process_init.connect
def load(**_: object) -> None:
    """Load the models in each child."""
    warm_up(JOBS[os.environ[JOB]])


@app.task
def read(path: str) -> str:
    """Check that the file is there."""
    Path(path).stat()
    return path


@app.task
def judge(path: str) -> Row:
    """Judge it."""
    return JOBS[os.environ[JOB]](path)


@contextmanager
def opened(job: str) -> Iterator[JudgeAll]:
    """Start a server and a worker; every child is warm."""
    with valkey_server() as server:
        os.environ |= {URL: server.url, JOB: job}
        app.conf.update(broker_url=server.url, result_backend=server.url)
        command = [sys.executable, "-m", "celery", "-A", __spec__.name, "worker", "--pool=prefork", "--loglevel=ERROR"]
        worker = subprocess.Popen([*command, f"--concurrency={usable_cores()}"])
        try:
            judge_all([str(path) for path in clips(True)] * usable_cores())
            yield judge_all
        finally:
            worker.terminate()
            worker.wait()


def judge_all(paths: list[str]) -> list[Row]:
    """Send a chain for each file and collect the results; a failure is a row with its exception."""
    sent = [(path, chain(read.s(path), judge.s()).apply_async()) for path in paths]
    return [_row(path, result) for path, result in sent]


def _row(path: str, result: AsyncResult[Any]) -> Row:
    answer = result.get(propagate=False, timeout=LOAD_SECONDS)
    return answer if result.successful() else {"name": Path(path).name, "error": f"{type(answer).__name__}: {answer}"}


if __name__ == "__main__":
    serve(opened(sys.argv[1]))
