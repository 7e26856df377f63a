"""Features over real workers, of which one is killed; a filter trained on features, rolled out to the workers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from storage.features.index import read_index
from tests.fleet.processes import wait_until
from tests.media import HEIGHT, WIDTH, write_clip
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureWorld]:
    """A world whose fleet runs."""
    world = FeatureWorld(tmp_path_factory.mktemp("world"))
    with world.fleet():
        yield world


def test_a_killed_gpu_worker_loses_no_row_and_leaves_the_files_of_a_local_extraction(world: FeatureWorld) -> None:
    tmp_path = world.root
    save_path = tmp_path / "fleet"
    tables = ("--tables", f"sqlite:///{tmp_path}/in.db#v", "--outputs", f"sqlite:///{tmp_path}/out.db#r")
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


def labelled_videos(root: Path) -> Path:
    """Write bright and dark videos, and the table of their labels."""
    (root / "objects" / "made").mkdir()
    rows = []
    for label, level in (("bright", 200), ("normal", 30)):
        for number in range(4):
            name = f"{label}{number}.mp4"
            write_clip(root / "objects" / "made" / name, 12, paint=shaded(level + 5 * number))
            row = {"video_id": name, "oss_bucket": "made", "video_path": name, "video_tag": "", "info": ""}
            rows.append(json.dumps({**row, "decision": label}))
    (root / "labelled.jsonl").write_text("\n".join(rows) + "\n")
    return root / "labelled.jsonl"


def shaded(level: int) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Return a painter of pictures of one grey."""
    return lambda number: np.full((HEIGHT, WIDTH, 3), level + number, np.uint8)


def test_a_new_filter_is_trained_rolled_out_by_reload_and_decides_on_the_old_rows(world: FeatureWorld) -> None:
    root, table = world.root, str(labelled_videos(world.root))
    manifest, results = root / "small.toml", f"sqlite:///{root}/judged.db#r"

    def run(*arguments: str) -> str:
        process = world.start(*arguments)
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
        return said

    def decided() -> dict[str, int]:
        said = run("decide", "--tables", results, "--thresholds", str(manifest), "--json")
        counts: dict[str, int] = json.loads(said.splitlines()[-1])
        return counts

    run("sift", "--tables", table, "--outputs", results)
    extracted = ("--outputs", f"sqlite:///{root}/extracted.db#r", "--save_path", str(root / "seen"))
    run("features", "--tables", table, *extracted, "--model_type", "manifest:base", "--scope", "whole")
    options = ("-o", str(root / "head"), "--name", "bright", "--max-loss", "0.97")
    said = run("train", "--features", str(root / "seen"), "--tables", table, *options)
    entry = [line.removeprefix("  ") for line in said.splitlines() if line.startswith("  ")]
    manifest.write_text("\n".join([SMALL, *entry]))
    assert decided()["review"] == 8  # what the new filter has not judged

    run("control", "reload")
    run("sift", "--tables", table, "--outputs", results)
    with closing(sqlite3.connect(root / "judged.db")) as db:
        infos = [json.loads(info) for (info,) in db.execute("SELECT info FROM r WHERE info LIKE '%bright_filter%'")]
    assert Counter(info["bright_filter"]["label"] for info in infos) == {"bright": 4, "normal": 4}
    assert (decided()["keep"], decided()["drop"]) == (4, 4)
