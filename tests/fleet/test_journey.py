"""`tamis up` and `tamis sift`, as a user runs them, on the demo's real clips."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tasks.node.embedded import redis_url
from tests.fleet.processes import wait_until
from tests.scripts import load_script
from tests.valkey import free_port

ROOT = Path(__file__).parents[2]
PRESENT_BUT_LATE = "missing"  # the demo's row without an object


class DemoWorld:
    """The demo's data in a temporary directory, and the fleet that sifts it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.demo = load_script("demo", "tamis_demo")
        (root / "state").mkdir(parents=True)
        self.demo.lay_out(root)
        self.environ = self.demo.environment(self.demo.settings(root)) | {
            "TAMIS_MANIFEST": "tiny",
            "TAMIS_STALE_SHARD_SECONDS": "20",
            "TAMIS_NODE": "journey",
        }
        self.tables = f"sqlite:///{root}/input.db#videos/ds=20250115"
        self.outputs = f"sqlite:///{root}/output.db#results/ds=20250115"

    def up(self) -> subprocess.Popen[str]:
        log = (self.root / "state" / "up.log").open("a")
        process = subprocess.Popen(
            self.demo.tamis("up"),
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        log.close()
        assert process.stdout is not None
        assert "embedded broker" in process.stdout.readline(), self.log("up")
        return process

    def run(self, *arguments: str, seconds: float = 240, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.demo.tamis(*arguments),
            env=self.environ | {"COLUMNS": "200"} | environ,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def sift(self, *extra: str, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        return self.run("sift", "--tables", self.tables, "--outputs", self.outputs, *extra, seconds=seconds)

    def rows(self) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.root / "output.db")) as db:
            db.row_factory = sqlite3.Row
            found = [dict(row) for row in db.execute("SELECT * FROM results")]
        for row in found:
            row["info"], row["result_info"] = json.loads(row["info"]), json.loads(row["result_info"])
        return found

    def by_video(self) -> dict[str, dict[str, Any]]:
        return {row["video_id"]: row for row in self.rows()}

    def log(self, name: str) -> str:
        path = self.root / "state" / ("up.log" if name == "up" else f"log/{name}.log")
        return path.read_text() if path.exists() else ""

    def worker_pid(self, name: str) -> int:
        """Return the pid of the worker ``name``, found by its command line."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if f"--hostname={name}@journey".encode() in words and b"-c" not in words:
                    return int(entry.name)
        msg = f"no {name} worker runs"
        raise AssertionError(msg)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoWorld]:
    made = DemoWorld(tmp_path_factory.mktemp("w"))
    process = made.up()
    try:
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)


@pytest.fixture(scope="module")
def sifted(world: DemoWorld, first_verdicts: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """The first sift of all 15 rows."""
    answer = world.sift()
    first_verdicts.update(world.by_video())
    return answer


def test_every_input_row_ends_as_exactly_one_result_row(
    world: DemoWorld, sifted: subprocess.CompletedProcess[str]
) -> None:
    assert sifted.returncode == 0, sifted.stdout + sifted.stderr + world.log("gpu0")[-3000:]
    rows = world.rows()
    assert sorted(row["video_id"] for row in rows) == sorted(row.video_id for row in world.demo.ROWS)
    assert sorted(row["result_info"]["ordinal"] for row in rows) == list(range(15))
    assert "rows 15 = ok 11 + failed 4 + in flight 0" in sifted.stdout


def test_failures_carry_code_stage_and_message(world: DemoWorld, sifted: subprocess.CompletedProcess[str]) -> None:
    failed = {
        name: row["result_info"] for name, row in world.by_video().items() if row["result_info"]["succeed"] == "false"
    }
    codes = {name: result["error"]["code"] for name, result in failed.items()}
    assert codes.pop("cut-in-half") in {"corrupt_video", "not_a_video"}
    assert codes == {"missing": "object_missing", "really-text": "not_a_video", "path-escape": "forbidden_path"}
    for result in failed.values():
        assert result["error"]["stage"] in {"download", "infer"}
        assert result["error"]["message"]


def test_verdicts_have_the_documented_shape(world: DemoWorld, sifted: subprocess.CompletedProcess[str]) -> None:
    globe = world.by_video()["globe-30s"]
    info, result = globe["info"], globe["result_info"]
    assert info["use_alluxio"] is False  # the input's own key is kept
    for key in ("vfx_filter", "simcam_filter", "rotate_vertical_filter"):
        assert sum(info[key]["result"].values()) == pytest.approx(1, abs=1e-4)
        assert info[key]["prob"] == info[key]["result"][info[key]["label"]]
    own_keys = {
        "seg_simcam_filter": "simcam_filter",
        "inverse_seg_simcam_filter": "simcam_filter",
        "seg_low_quality_filter": "low_quality_filter",
    }
    for key, own in own_keys.items():
        assert [info[key][str(n)]["duration"] for n in range(2)] == [[0, 4], [3, 7]]
        assert len(info[key]) == 10  # 30.5 s
        assert info[key]["9"].keys() == {"duration", own}
        assert info[key]["9"][own]["label"]
    assert info["abnormal_region_info"]["acted_on"] is False
    assert info["abnormal_region_crop"] is None
    assert result["untrained"] is True
    assert (result["succeed"], result["tier"], result["attempt"]) == ("true", "oss", 1)
    assert {"download", "decode", "score", "detect"} <= set(result["stages"])
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in result["models"].values())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|\+00:00)", result["start_time"])
    assert globe["video_oss_url"] == "oss://demo-videos/space/world.mp4"


def test_a_video_comes_from_the_first_tier_that_holds_it(
    world: DemoWorld, sifted: subprocess.CompletedProcess[str]
) -> None:
    tiers = {name: row["result_info"]["tier"] for name, row in world.by_video().items()}
    assert tiers["in-all-tiers"] == "cpfs"
    assert tiers["phone-sharp"] == "cpfs"
    assert tiers["clip-alluxio"] == "alluxio"
    assert tiers["bikes"] == "oss"


def test_the_untrained_warning_and_the_outputs_url_are_shown_once(
    world: DemoWorld, sifted: subprocess.CompletedProcess[str]
) -> None:
    assert sifted.stdout.count("untrained weights") == 1
    assert f"output: {world.outputs}" in sifted.stdout


def test_a_second_sift_reports_the_complete_run_and_computes_nothing(
    world: DemoWorld, sifted: subprocess.CompletedProcess[str]
) -> None:
    before = world.rows()
    again = world.sift(seconds=30)
    assert again.returncode == 0
    assert "is complete" in again.stdout
    assert world.rows() == before


def test_commands_of_celery_and_tamis_work_while_the_fleet_is_up(
    world: DemoWorld, sifted: subprocess.CompletedProcess[str]
) -> None:
    ping = world.run("inspect", "ping")
    assert ping.returncode == 0, ping.stdout + ping.stderr
    assert {"io@journey", "gpu0@journey", "results@journey"} <= set(re.findall(r"\w+@journey", ping.stdout))
    runs = world.run("runs")
    run_id = world.rows()[0]["result_info"]["run_id"]
    assert run_id in runs.stdout
    one = world.run("runs", run_id[:6])
    assert "rows 15 = ok 11 + failed 4 + in flight 0" in one.stdout
    doctor = world.run("doctor", "--tables", world.tables, "--no-models", TAMIS_DISK_LIMIT_BYTES=str(10**9))
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "all is well" in doctor.stdout


def test_a_second_fleet_on_the_same_state_is_refused_in_one_line(world: DemoWorld) -> None:
    second = world.run("up", seconds=30)
    assert second.returncode == 2
    assert "Traceback" not in second.stderr
    assert "state" in second.stderr


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_run_can_be_exported_and_read_again(
    world: DemoWorld, sifted: subprocess.CompletedProcess[str], suffix: str, tmp_path: Path
) -> None:
    run_id, path = world.rows()[0]["result_info"]["run_id"], tmp_path / f"out.{suffix}"
    answer = world.run("runs", run_id, "--export", str(path))
    assert "exported 15 rows" in answer.stdout, answer.stdout + answer.stderr
    assert path.stat().st_size > 1000


def test_a_retry_judges_only_rows_of_the_given_reason_and_replaces_them(
    world: DemoWorld, sifted: subprocess.CompletedProcess[str]
) -> None:
    before = world.by_video()
    late = world.root / "tiers" / "oss" / "demo-videos" / "broken" / "never-uploaded.mp4"
    shutil.copyfile(world.demo.shipped("gradio", "muted_b.mp4"), late)
    run_id = before[PRESENT_BUT_LATE]["result_info"]["run_id"]
    answer = world.run("retry", run_id, "--reason", "object_missing")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 failed rows are tried again" in answer.stdout
    assert "rows 15 = ok 12 + failed 3 + in flight 0" in answer.stdout
    after = world.by_video()
    assert len(world.rows()) == 15
    assert after[PRESENT_BUT_LATE]["result_info"]["succeed"] == "true"
    assert {name: row for name, row in after.items() if name != PRESENT_BUT_LATE} == {
        name: row for name, row in before.items() if name != PRESENT_BUT_LATE
    }
    none_left = world.run("retry", run_id, "--reason", "object_missing")
    assert none_left.returncode == 2
    assert "forbidden_path" in none_left.stderr


def test_after_an_emptied_ledger_a_sift_counts_the_output_and_computes_nothing(
    world: DemoWorld, sifted: subprocess.CompletedProcess[str]
) -> None:
    before = world.rows()
    client = redis.Redis.from_url(redis_url(world.root / "state"))
    client.flushall()
    client.close()
    again = world.sift()
    assert again.returncode == 0, again.stdout + again.stderr
    assert "in flight 0" in again.stdout
    assert world.rows() == before
    wait_until(
        lambda: "complete" in world.run("runs", "--all", "--outputs", world.outputs).stdout, "a record of the run"
    )


def test_a_gpu_worker_killed_during_a_run_loses_and_repeats_no_row(world: DemoWorld) -> None:
    outputs = f"sqlite:///{world.root}/killed.db#results"
    arguments = ["sift", "--tables", world.tables, "--outputs", outputs, "--com_enable", "false"]
    sift = subprocess.Popen(
        world.demo.tamis(*arguments), env=world.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    marker = world.log("gpu0").count(": ok")
    wait_until(lambda: world.log("gpu0").count(": ok") > marker + 1, "two rows judged", 120)
    os.kill(world.worker_pid("gpu0"), signal.SIGKILL)
    said, _ = sift.communicate(timeout=240)
    assert sift.returncode == 0, said
    with closing(sqlite3.connect(world.root / "killed.db")) as db:
        ordinals = [json.loads(text)["ordinal"] for (text,) in db.execute("SELECT result_info FROM results")]
    assert sorted(ordinals) == list(range(15))


def test_flower_serves_the_fleet(world: DemoWorld, sifted: subprocess.CompletedProcess[str]) -> None:
    port = free_port()
    command = world.demo.tamis("flower", "--address=127.0.0.1", f"--port={port}")
    environ = world.environ | {"FLOWER_BASIC_AUTH": "operator:secret"}
    flower = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/healthcheck")
    asked.add_header("Authorization", f"Basic {base64.b64encode(b'operator:secret').decode()}")
    try:

        def answers() -> bool:
            try:
                with urllib.request.urlopen(asked, timeout=2) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_until(answers, "flower answers")
    finally:
        flower.terminate()
        flower.wait(30)


def test_ctrl_c_drains_and_leaves_no_process(tmp_path: Path) -> None:
    world = DemoWorld(tmp_path / "w2")
    process = world.up()
    wait_until(lambda: "ready" in world.log("io"), "io is ready")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=90)
    assert process.returncode == 0
    assert "drained" in said
    mine = str(world.root).encode()
    left = [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if mine in read(entry)]
    assert not left


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
