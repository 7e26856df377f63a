"""The tests' own videos leave the process as it was."""

from __future__ import annotations

import os
from pathlib import Path

from tests.media import write_clip


def test_encoding_av1_as_root_leaves_no_thread_with_real_time_priority(tmp_path: Path) -> None:
    options = {"preset": "10", "crf": "5", "svtav1-params": "lp=1"}
    write_clip(tmp_path / "av1.mp4", 5, codec="libsvtav1", codec_options=options)
    threads = (int(task.name) for task in Path("/proc/self/task").iterdir())
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
