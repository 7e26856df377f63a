"""Workers of a config file run alone and together on cores of their own; what is wrong in the file is named."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from inference.errors import ProfilingError
from inference.profiling.child import main
from inference.profiling.workers import COLUMNS, read_config, run_workers
from tests.media import real_clip

CORES = sorted(os.sched_getaffinity(0))


def config(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_two_workers_run_alone_and_together_and_are_merged_in_one_table(tmp_path: Path) -> None:
    path = config(
        tmp_path / "config.yaml",
        f"""
defaults: {{input_path: {real_clip("a.mp4")}, input_sizes: [64], max_steps: 8}}
workers:
  - {{model_name: shufflenet_v2_x0_5, core_bind: "{CORES[0]}"}}
  - {{model_name: squeezenet1_1, core_bind: "{CORES[1]}", batch_size: 2}}
""",
    )
    results = run_workers(read_config(path, CORES, "tiny"), tmp_path / "out")
    assert [one.options.model_name for one in results] == ["shufflenet_v2_x0_5", "squeezenet1_1"]
    assert all(one.slow_down > 0 for one in results)
    with (tmp_path / "out" / "workers.csv").open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert tuple(rows[0]) == COLUMNS
    assert [row[2] for row in rows[1:]] == [str(core) for core in CORES[:2]]
    for number, core in enumerate(CORES[:2]):
        (summary,) = (tmp_path / "out" / "together" / f"worker-{number}").glob("*_summary.json")
        assert json.loads(summary.read_text())["machine"]["cores"] == f"1 of {os.cpu_count()} ({core})"
        assert len(list(summary.parent.glob("*_metrics.csv"))) == 1


def test_the_reason_of_a_worker_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = read_config(config(tmp_path / "config.yaml", "workers: [{model_name: a, input_path: b}]"), CORES, "tiny")
    program = "import sys; sys.exit('a.mp4 cannot be decoded: leave it out')"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    failing = partial(subprocess.Popen, [sys.executable, "-S", "-c", program], text=True, **pipes)
    monkeypatch.setattr("inference.profiling.workers.start_child", lambda *_args, **_kwargs: failing())
    with pytest.raises(ProfilingError, match="cannot be decoded: leave it out"):
        run_workers(workers, tmp_path)


def test_a_profile_that_cannot_be_made_ends_its_process_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = json.dumps({"model_name": "squeezenet1_1", "input_path": "/no/clip.mp4"})
    assert main([options, str(tmp_path)]) == 2
    assert capsys.readouterr().err.strip().endswith("a camera's number or a URL")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers: []", "names no workers"),
        ("[1", "cannot be read as YAML"),
        ("workers: [{model_name: a, input_path: b, batch: 2}]", "option 'batch' is unknown"),
        ("workers: [{model_name: a, input_path: b, batch_size: many}]", "batch_size = 'many'"),
        ("workers: [{model_name: a, input_path: b, batch_size: 0}]", "batch_size = 0"),
        ("workers: [{model_name: a, input_path: b}]\nsteps: 3", "'steps' is unknown"),
        ("workers: [&w {model_name: a, input_path: b}, *w]", "worker 0 has no cores of its own"),
        ('workers: [&w {model_name: a, input_path: b, core_bind: "0"}, *w]', "workers 0 and 1 share core 0"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ProfilingError, match=said):
        read_config(config(tmp_path / "config.yaml", text), [0, 1], "tiny")
