"""``tamis profile``: its options, its files, its console, its signals."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.cli.profiling.profile import profile
from tests.fleet.processes import wait_until
from tests.media import real_clip

SMALL = ("--model-name", "shufflenet_v2_x0_5", "--input-sizes", "64", "--input_path", str(real_clip("a.mp4")))


def lines_of(directory: Path) -> list[dict[str, str]]:
    found = list(directory.glob("M_shufflenet_v2_x0_5_P_*_metrics.csv"))
    if not found:
        return []
    with found[0].open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_bound_profile_ends_at_an_interrupt_with_whole_lines_and_the_figures_so_far(tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "celery", "-A", "tasks", "profile", *SMALL]
    command += ["--output-dir", str(tmp_path), "--max-steps", "100000", "--core-bind", core, "--use-amp"]
    environ = os.environ | {"TAMIS_STATE_DIR": str(tmp_path / "state")}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ)
    try:
        wait_until(lambda: len(lines_of(tmp_path)) > 5, "a few steps")
        running.send_signal(signal.SIGINT)
        told, _ = running.communicate(timeout=60)
    finally:
        running.kill()  # a shell's background job ignores SIGINT, and so would this one
    assert running.returncode == 130
    for said in (
        "processor",
        f"1 of {os.cpu_count()} ({core})",
        "use_amp=True",
        "interrupted",
        "throughput:",
        "verdict:",
    ):
        assert said in told
    assert all(row["total_step_latency_ms"] for row in lines_of(tmp_path))
    assert len(list(tmp_path.glob("*_details.csv"))) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--infer-on-gpu",), "--infer-on-gpu: this machine has no GPU"),
        (("--core-bind", "900"), "may not use core 900"),
        (("--input_path", "/no/clip.mp4"), "does not exist"),
        (("--on", "io"), "as in gpu.node1"),
    ],
)
def test_what_this_machine_cannot_serve_is_refused_in_one_line(words: tuple[str, ...], said: str) -> None:
    refused = CliRunner().invoke(profile, [*SMALL, *words], standalone_mode=True)
    assert refused.exit_code == 2
    assert said in refused.output.splitlines()[-1]


def test_a_profile_without_a_model_says_what_to_give() -> None:
    refused = CliRunner().invoke(profile, ["--input_path", "a.mp4"])
    assert refused.exit_code == 2
    assert "give --model-name, or the workers of a file with --config" in refused.output


def test_advice_and_an_earlier_run_are_printed_and_a_wrong_file_is_refused_before_the_run(tmp_path: Path) -> None:
    words = [*SMALL, "--max-steps", "3", "--output-dir", str(tmp_path)]
    assert CliRunner().invoke(profile, words).exit_code == 0
    (earlier,) = tmp_path.glob("*_summary.json")
    kept = earlier.rename(tmp_path / "earlier.json")
    again = CliRunner().invoke(profile, [*words, "--compare", str(kept), "--advise"])
    assert again.exit_code == 0, again.output
    assert "against M_shufflenet" in again.output
    assert "tried --" in again.output or "no flag helps" in again.output
    (tmp_path / "other.json").write_text("{}")
    refused = CliRunner().invoke(profile, [*words, "--compare", str(tmp_path / "other.json")])
    assert refused.exit_code == 2
    assert "is no profile of this release" in refused.output
