"""`make demo-cloud`: the demo with `odps://` tables and `oss://` objects, over the wire.

No account is needed: MaxCompute and OSS are the tests' wire-level servers, on loopback, for as long as the demo runs.
The fleet speaks to them with the same SDKs, signatures and checksums as to the real ones. The rows of the results table
are saved in a file at the end, so that the next demo finds its run as it was.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the servers live with the tests

import demo  # noqa: E402 -- the script beside this one

from tests.servers.odps.refusals import Refusal  # noqa: E402 -- after the path is set
from tests.servers.odps.server import OdpsServer  # noqa: E402 -- likewise
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer  # noqa: E402 -- likewise

ROOT = demo.HERE / "cloud"
PROJECT = "demo"
COLUMNS = dict.fromkeys(("video_id", "oss_bucket", "video_path", "video_tag", "info"), "string")
PARTITION = f"ds={demo.DAY}"


def fill(odps: OdpsServer, oss: OssServer, root: Path) -> None:
    """Create the input partition, and upload the files of the object store's directory."""
    odps.create_table("videos", COLUMNS, partitions={"ds": "string"})
    rows = [dict(zip(COLUMNS, demo.record(row), strict=False)) for row in demo.ROWS]
    odps.insert("videos", rows, PARTITION)
    bucket = root / "tiers" / "oss" / demo.BUCKET
    for path in sorted(bucket.rglob("*")):
        if path.is_file():
            oss.put(demo.BUCKET, str(path.relative_to(bucket)), path.read_bytes())


def settings(odps: OdpsServer, oss: OssServer, root: Path) -> dict[str, str]:
    """Return the settings of the local demo with MaxCompute and OSS in place of files."""
    local = demo.settings(root)
    del local["TAMIS_OBJECT_ROOT"]
    return local | {
        "TAMIS_ODPS_ENDPOINT": odps.endpoint,
        "TAMIS_OSS_ENDPOINT": oss.endpoint,
        "TAMIS_OSS_REGION": REGION,
        "TAMIS_ALIYUN_ACCESS_KEY_ID": KEY_ID,
        "TAMIS_ALIYUN_ACCESS_KEY_SECRET": SECRET,
    }


@contextmanager
def kept(odps: OdpsServer, path: Path) -> Iterator[None]:
    """Restore the results of the last demo for the block, and save the results afterwards."""
    if path.exists():
        rows = json.loads(path.read_text(encoding="utf-8"))
        odps.create_table("results", dict.fromkeys(rows[0], "string"), partitions={"ds": "string"})
        odps.insert("results", rows, PARTITION)
        path.unlink()
    try:
        yield
    finally:
        if rows := written(odps):
            path.write_text(json.dumps(rows), encoding="utf-8")


def written(odps: OdpsServer) -> list[dict[str, object]]:
    """Return the rows of the results table; none if it does not exist yet."""
    try:
        return odps.rows("results", PARTITION)
    except Refusal:
        return []


def main(root: Path = ROOT) -> int:
    """Start the servers, create the input, start the fleet, sift and drain; return the exit status."""
    results = root / "results.json"
    if not results.exists():  # the ledger must not hold rows that the table has lost
        shutil.rmtree(root, ignore_errors=True)
    (root / "state").mkdir(parents=True, exist_ok=True)
    demo.lay_out(root)
    with ExitStack() as stack:
        odps = stack.enter_context(OdpsServer(project=PROJECT, access_id=KEY_ID, secret=SECRET))
        oss = stack.enter_context(OssServer(root / "oss", buckets=[demo.BUCKET]))
        fill(odps, oss, root)
        stack.enter_context(kept(odps, results))
        print(f"demo: MaxCompute at {odps.endpoint}, OSS at {oss.endpoint}, both from the tests, until the demo ends")
        tables, outputs = (f"odps://{PROJECT}/{table}/{PARTITION}" for table in ("videos", "results"))
        status = demo.sift(root, settings(odps, oss, root), tables, outputs)
        print(f"demo: {outputs} has {len(written(odps))} rows")
    return status


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
