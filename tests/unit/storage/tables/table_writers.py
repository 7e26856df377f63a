"""Other processes that write to a table: ``python -m tests.unit.storage.tables.table_writers ROLE URL [ARGUMENT]``."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from storage.errors import Unavailable
from storage.records import ResultRow
from storage.tables.sqlite.output import SqliteOutput
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import succeeded

REPOSITORY = Path(__file__).parents[4]
SHARDS, SHARD_ROWS = 30, 40
UNPRIVILEGED_USER = 65534


def shard(number: int) -> list[ResultRow]:
    """Return the rows of one batch, equal in every process."""
    return [succeeded(ordinal) for ordinal in range(number * SHARD_ROWS, (number + 1) * SHARD_ROWS)]


def start(role: str, url: str, argument: str = "") -> subprocess.Popen[str]:
    """Start a writer and wait for its line ``ready``."""
    command = [sys.executable, "-m", "tests.unit.storage.tables.table_writers", role, url, argument]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end and return the rest of the output."""
    with process:
        assert process.stdout is not None
        said = process.stdout.read()  # communicate() would lose what came together with the first line
    assert process.returncode == 0
    return said


def deliver_all_twice(sink: SqliteOutput, seed: str) -> Iterator[str]:
    """Write every shard twice, in a random order."""
    deliveries = [*range(SHARDS)] * 2
    random.Random(seed).shuffle(deliveries)
    for number in deliveries:
        sink.write_batch(f"shard {number}", shard(number))
        yield f"wrote {number}"


def deliver_one(sink: SqliteOutput, number: str) -> Iterator[str]:
    """Write one shard."""
    sink.write_batch(f"shard {number}", shard(int(number)))
    yield f"wrote {number}"


def prepare_and_deliver(sink: SqliteOutput, number: str) -> Iterator[str]:
    """Write one shard to a table that may not exist yet."""
    sink.prepare(())
    return deliver_one(sink, number)


def deliver_within(sink: SqliteOutput, limit_bytes: str) -> Iterator[str]:
    """Write shards until the file size limit; then print the error, lift the limit and write that shard again."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), hard_limit))
    for number in range(SHARDS):
        try:
            sink.write_batch(f"shard {number}", shard(number))
        except Unavailable as error:
            yield f"unavailable {error}"
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard_limit, hard_limit))
            sink.write_batch(f"shard {number}", shard(number))


def deliver_without_permission(sink: SqliteOutput, number: str) -> Iterator[str]:
    """Write one shard as a user who may read the file but not write it."""
    if os.geteuid() == 0:
        os.setuid(UNPRIVILEGED_USER)
    try:
        sink.write_batch(f"shard {number}", shard(int(number)))
    except Unavailable as error:
        yield f"unavailable {error}"


ROLES = {
    role.__name__: role
    for role in (deliver_all_twice, deliver_one, prepare_and_deliver, deliver_within, deliver_without_permission)
}

if __name__ == "__main__":
    role, url, argument = sys.argv[1:]
    table = SqliteOutput(TableUrl.parse(url))
    print("ready", flush=True)
    for line in ROLES[role](table, argument):
        print(line, flush=True)
