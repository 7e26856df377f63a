"""The task of a profile: files or the reason why there are none, over a real Redis."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from inference.errors import ProfilingError
from inference.profiling import child
from inference.profiling.options import ProfileOptions
from tasks import profile
from tasks.cli.profiling.elsewhere import check_queue, wait_for
from tasks.cli.terminal.usage import OneLine
from tasks.resources.profile_files import KEEP_SECONDS, ProfileFiles, put_files, take_files
from tasks.settings import Settings

OPTIONS = ProfileOptions(model_name="resnet18", input_path="a.mp4")


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
    answer = profile.answer_of({"newer": 1}, Settings.of(state_dir=tmp_path), tmp_path, 2.0)
    assert "option 'newer' is unknown" in (answer.error or "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_path": "/etc/passwd"}, "of the worker's tiers alone, not '/etc/passwd'"),
        ({"input_path": "{root}/../secret.mp4"}, "of the worker's tiers alone"),
        ({"input_path": "{root}/link.mp4"}, "of the worker's tiers alone"),
        ({"input_path": "http://169.254.169.254/latest"}, "of the worker's tiers alone"),
        ({"input_path": "0"}, "of the worker's tiers alone"),
        ({"weights": "/data/weights.pt"}, "loads no weights"),
        ({"weights": "default"}, "loads no weights"),
        ({"model_name": "somebody/model"}, "loads no weights"),
        ({"model_name": "{root}"}, "loads no weights"),
    ],
)
def test_a_message_can_ask_for_no_more_than_a_row_could(changes: dict[str, str], said: str, tmp_path: Path) -> None:
    settings, options = mounted(tmp_path)
    (tmp_path / "objects" / "link.mp4").symlink_to("/etc/passwd")
    wanted = {name: value.format(root=tmp_path / "objects") for name, value in changes.items()}
    with pytest.raises(ProfilingError, match=said):
        profile.allowed(replace(options, **wanted), settings)


def test_a_file_of_a_mounted_tier_is_profiled_with_the_workers_own_manifest(tmp_path: Path) -> None:
    settings, options = mounted(tmp_path)
    assert profile.allowed(replace(options, manifest="/other.toml"), settings) == replace(options, manifest="tiny")


def mounted(root: Path) -> tuple[Settings, ProfileOptions]:
    (root / "objects").mkdir()
    settings = Settings.of(state_dir=root, object_root=root / "objects", manifest="tiny")
    return settings, replace(OPTIONS, input_path=str(root / "objects" / "a.mp4"))


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
