"""`tamis features --tables` over real workers, of which one is killed, leaves the files of a local extraction."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from storage.features.index import read_index
from tests.fleet.processes import wait_until
from tests.media import write_clip
from tests.scripts import load_script
from tests.small_manifest import SMALL

COUNTS = (9, 30, 41, 52, 63, 74)


class FeatureWorld:
    """A table of six videos and one that is none, in a directory that stands for the object store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.demo = load_script("demo", "tamis_demo")
        (root / "state").mkdir()
        (root / "small.toml").write_text(SMALL)
        bucket = root / "objects" / "bucket"
        bucket.mkdir(parents=True)
        names = [f"{count}.mp4" for count in COUNTS]
        for name, count in zip(names, COUNTS, strict=True):
            write_clip(bucket / name, count)
        (bucket / "bad.mp4").write_bytes(b"no video")
        with closing(sqlite3.connect(root / "in.db")) as db, db:
            db.execute("CREATE TABLE v (video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT)")
            db.executemany(
                "INSERT INTO v VALUES (?, 'bucket', ?, '', '')", [(name, name) for name in [*names, "bad.mp4"]]
            )
        self.environ = self.demo.environment(
            {
                "TAMIS_STATE_DIR": str(root / "state"),
                "TAMIS_OBJECT_ROOT": str(root / "objects"),
                "TAMIS_MANIFEST": str(root / "small.toml"),
                "TAMIS_NODE": "features",
                "TAMIS_MAX_CONCURRENT_WORKERS": "1",
            }
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.demo.tamis(*arguments),
            env=self.environ,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def fleet(self) -> Iterator[None]:
        process = self.start("up")
        assert process.stdout is not None
        try:
            assert any("embedded broker" in line for line in process.stdout)  # warnings about this machine come first
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)

    def gpu_worker_pid(self) -> int | None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"--hostname=gpu0@features" in words and b"-c" not in words:
                    return int(entry.name)
        return None


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*.safetensors")
    }


def test_a_killed_gpu_worker_loses_no_row_and_leaves_the_files_of_a_local_extraction(tmp_path: Path) -> None:
    world = FeatureWorld(tmp_path)
    save_path = tmp_path / "fleet"
    tables = ("--tables", f"sqlite:///{tmp_path}/in.db#v", "--outputs", f"sqlite:///{tmp_path}/out.db#r")
    with world.fleet():
        watching = world.start("features", *tables, "--save_path", str(save_path), "--stride", "2")
        wait_until(lambda: list(save_path.rglob("*.safetensors")), "a first file of features", 180)
        pid = world.gpu_worker_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        said, _ = watching.communicate(timeout=240)
    assert watching.returncode == 0, said
    with closing(sqlite3.connect(tmp_path / "out.db")) as db:
        rows = {video: json.loads(info) for video, info in db.execute("SELECT video_id, info FROM r")}
        failed = db.execute("SELECT count(*) FROM r WHERE result_info LIKE '%not_a_video%'").fetchone()[0]
    assert sorted(rows) == sorted([*(f"{count}.mp4" for count in COUNTS), "bad.mp4"])
    assert failed == 1
    assert [row["video"] for row in read_index(save_path)] == sorted(f"bucket/{count}.mp4" for count in COUNTS)
    assert all((save_path / info["features"]["file"]).exists() for video, info in rows.items() if video != "bad.mp4")

    here = world.start(
        "features", "--data_path", str(tmp_path / "objects"), "--save_path", str(tmp_path / "here"), "--stride", "2"
    )
    said, _ = here.communicate(timeout=120)
    assert here.returncode == 0, said
    assert digests(save_path) == digests(tmp_path / "here")
