"""The tests' MaxCompute and OSS servers for a round, outside of its process tree, so that they are not measured.

``python -m bench.wire`` forks and ends. Its child is outside of the measured tree; it fills the servers, prints their
addresses, and serves until its standard input ends.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.records import INPUT_COLUMNS, OUTPUT_COLUMNS

BUCKET, DAY, PROJECT = "videos", "ds=20250115", "bench"
KEY_ID, SECRET = "LTAIbench", "secret-of-the-bench"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Wire:
    """Addresses of the servers."""

    odps: str
    oss: str
    region: str


def input_rows(count: int) -> list[dict[str, str]]:
    """Rows of a table of videos."""
    return [
        dict(
            zip(
                INPUT_COLUMNS,
                (f"v{n}", BUCKET, f"2025/01/15/{n:06}.mp4", "street", '{"use_alluxio": true}'),
                strict=True,
            )
        )
        for n in range(count)
    ]


def object_key(number: int) -> str:
    """Key of object ``number``."""
    return f"2025/01/15/{number:06}.mp4"


@contextmanager
def serving(rows: int, object_sizes: Sequence[int]) -> Iterator[Wire]:
    """Serve a table ``videos`` with ``rows`` rows, an empty table ``results``, and objects of these sizes in bytes."""
    asked = json.dumps({"rows": rows, "object_sizes": list(object_sizes)})
    command = [sys.executable, "-m", "bench.wire", asked]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as launcher:
        if launcher.stdin is None or launcher.stdout is None:
            raise RuntimeError("no pipes to the servers")
        yield Wire(**json.loads(launcher.stdout.readline()))
        launcher.stdin.close()
        launcher.stdout.read()  # returns when the servers have ended


def _serve(rows: int, object_sizes: Sequence[int]) -> None:
    from tests.servers.odps.server import OdpsServer
    from tests.servers.oss.server import REGION, OssServer
    from tests.servers.oss.signing import Key

    keys = {KEY_ID: Key(SECRET)}
    with (
        tempfile.TemporaryDirectory(prefix="tamis-bench-") as directory,
        OdpsServer(project=PROJECT, access_id=KEY_ID, secret=SECRET) as odps,
        OssServer(Path(directory), buckets=[BUCKET], keys=keys) as oss,
    ):
        for table, columns in (("videos", INPUT_COLUMNS), ("results", OUTPUT_COLUMNS)):
            odps.create_table(table, dict.fromkeys(columns, "string"), partitions={"ds": "string"})
        odps.insert("videos", input_rows(rows), DAY)
        odps.insert("results", [], DAY)
        for number, size_bytes in enumerate(object_sizes):
            oss.put(BUCKET, object_key(number), random.Random(number).randbytes(size_bytes))  # noqa: S311 -- content
        print(json.dumps({"odps": odps.endpoint, "oss": oss.endpoint, "region": REGION}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if os.fork() == 0:
        _serve(**json.loads(sys.argv[1]))
