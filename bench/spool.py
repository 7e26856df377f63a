"""``python -m bench.spool``: CPU-milliseconds of a spool's check for room, by the number of its files."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from storage.spool import Spool
from storage.spool.index import SpoolIndex
from storage.spool.spool import INDEX_NAME

FILES = (1_000, 10_000, 50_000)
FILE_BYTES, CHECKS = 10_000_000, 20


def main() -> int:
    """Fill the index of an empty spool, and time the check that precedes every download."""
    for files in FILES:
        with full_spool(files) as spool:
            started = time.process_time()
            for _ in range(CHECKS):
                spool.has_room(FILE_BYTES)
            milliseconds = (time.process_time() - started) * 1000 / CHECKS
        sys.stdout.write(f"{files:>7,} files: {milliseconds:.2f} ms\n")
    return 0


@contextmanager
def full_spool(files: int) -> Iterator[Spool]:
    """A spool whose index names so many files; the files themselves are not there."""
    with tempfile.TemporaryDirectory(prefix="tamis-bench-spool-") as name:
        spool, index = Spool(Path(name), limit_bytes=files * FILE_BYTES), SpoolIndex(Path(name) / INDEX_NAME)
        rows = [(f"{number:064x}", FILE_BYTES, float(number)) for number in range(files)]
        insert = "INSERT INTO files (key, size_bytes, state, used_at) VALUES (?, ?, 'whole', ?)"
        with closing(index), index.transaction() as connection:
            connection.executemany(insert, rows)
        with closing(spool):
            yield spool


if __name__ == "__main__":
    sys.exit(main())
