"""`make demo-cloud`: the demo with `odps://` tables and `oss://` objects, over the wire.

No account is needed: MaxCompute and OSS are the tests' wire-level servers, on loopback, for as long as the demo runs.
The fleet speaks to them with the same SDKs, signatures and checksums as to the real ones. Every run starts afresh.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the servers live with the tests

import demo  # noqa: E402 -- the script beside this one

from tests.servers.odps.server import OdpsServer  # noqa: E402 -- after the path is set
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer  # noqa: E402 -- likewise

ROOT = demo.HERE / "cloud"
PROJECT = "demo"
COLUMNS = dict.fromkeys(("video_id", "oss_bucket", "video_path", "video_tag", "info"), "string")


def fill(odps: OdpsServer, oss: OssServer, root: Path) -> None:
    """Create the input partition, and upload what stands in the directory of the object store."""
    odps.create_table("videos", COLUMNS, partitions={"ds": "string"})
    rows = [dict(zip(COLUMNS, demo.record(row), strict=False)) for row in demo.ROWS]
    odps.insert("videos", rows, f"ds={demo.DAY}")
    bucket = root / "tiers" / "oss" / demo.BUCKET
    for path in sorted(bucket.rglob("*")):
        if path.is_file():
            oss.put(demo.BUCKET, str(path.relative_to(bucket)), path.read_bytes())


def settings(odps: OdpsServer, oss: OssServer, root: Path) -> dict[str, str]:
    """Return the demo's own settings: those of the local one, with MaxCompute and OSS in place of files."""
    local = demo.settings(root)
    del local["TAMIS_OBJECT_ROOT"]
    return local | {
        "TAMIS_ODPS_ENDPOINT": odps.endpoint,
        "TAMIS_OSS_ENDPOINT": oss.endpoint,
        "TAMIS_OSS_REGION": REGION,
        "TAMIS_ALIYUN_ACCESS_KEY_ID": KEY_ID,
        "TAMIS_ALIYUN_ACCESS_KEY_SECRET": SECRET,
    }


def main(root: Path = ROOT) -> int:
    """Serve, lay out, start, sift, drain."""
    shutil.rmtree(root, ignore_errors=True)  # the tables of the last run went with its servers
    (root / "state").mkdir(parents=True)
    demo.lay_out(root)
    with ExitStack() as stack:
        odps = stack.enter_context(OdpsServer(project=PROJECT, access_id=KEY_ID, secret=SECRET))
        oss = stack.enter_context(OssServer(root / "oss", buckets=[demo.BUCKET]))
        fill(odps, oss, root)
        print(f"demo: MaxCompute at {odps.endpoint}, OSS at {oss.endpoint}, both of the tests, until the demo ends")
        tables, outputs = (f"odps://{PROJECT}/{table}/ds={demo.DAY}" for table in ("videos", "results"))
        status = demo.sift(root, settings(odps, oss, root), tables, outputs)
        if status == 0:
            print(f"demo: {outputs} has {len(odps.rows('results', f'ds={demo.DAY}'))} rows")
    return status


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
