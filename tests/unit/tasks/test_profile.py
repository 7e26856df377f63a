"""The task of a profile: files or the reason why there are none, over a real Redis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from inference.profiling import child
from tasks import profile
from tasks.cli.profiling.elsewhere import check_queue, wait_for
from tasks.cli.usage import OneLine
from tasks.resources.profile_files import KEEP_SECONDS, ProfileFiles, put_files, take_files

OPTIONS = {"model_name": "resnet18", "input_path": "a.mp4"}


def child_that(program: str) -> Any:
    def start(_options: object, directory: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-S", "-c", program], cwd=directory, stdout=-1, stderr=-1, stdin=-1, text=True
        )

    return start


def test_files_are_kept_until_they_are_taken_or_too_old(client: redis.Redis) -> None:
    assert take_files(client, "r1") is None
    put_files(client, "r1", ProfileFiles({"a.csv": b"1,2\n", "a.html": b"\xff"}))
    assert 0 < client.ttl("tamis:profile:r1") <= KEEP_SECONDS
    assert take_files(client, "r1") == ProfileFiles({"a.csv": b"1,2\n", "a.html": b"\xff"})
    assert take_files(client, "r1") is None


def test_an_answer_of_a_second_delivery_replaces_the_first(client: redis.Redis) -> None:
    put_files(client, "r2", ProfileFiles({}, "killed"))
    put_files(client, "r2", ProfileFiles({"a.csv": b"1"}))
    assert take_files(client, "r2") == ProfileFiles({"a.csv": b"1"}, None)


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("open('m.csv', 'w').write('1')", ProfileFiles({"m.csv": b"1"})),
        ("import sys; sys.exit('a.mp4 does not exist')", ProfileFiles({}, "a.mp4 does not exist")),
        ("import time; time.sleep(60)", ProfileFiles({}, "the profile took longer than 2 s: give fewer --max-steps")),
        ("import os; os.abort()", ProfileFiles({}, "the profile's process ended with status -6")),
    ],
)
def test_a_profiles_process_ends_as_files_or_as_a_reason(
    program: str, answer: ProfileFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "start_child", child_that(program))
    assert profile.run_child(OPTIONS, tmp_path, 2.0) == answer


def test_options_of_another_release_are_answered_with_the_reason(tmp_path: Path) -> None:
    assert "option 'newer' is unknown" in (profile.run_child({**OPTIONS, "newer": 1}, tmp_path, 2.0).error or "")


def test_files_that_are_too_large_to_travel_are_answered_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "MOST_BYTES", 3)
    (tmp_path / "trace.json").write_text("1234")
    assert "fewer --trace-steps" in (profile.collect(tmp_path).error or "")


def test_a_queue_without_a_worker_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(OneLine, match=r"GPU queues with workers: gpu, gpu\.n1"):
        check_queue("gpu.n2", {"gpu", "gpu.n1", "io"})


def test_waiting_ends_with_the_answer_or_the_time() -> None:
    answers = iter([None, ProfileFiles({})])
    assert wait_for(lambda: next(answers), 10.0) == ProfileFiles({})
    assert wait_for(lambda: None, 0.0) is None
