"""A profile's report as a browser shows it: from a file, without a network."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

from PIL import Image

from inference.profiling.figures.first_calls import FirstCallConditions, SlowFirstCall, explain
from inference.profiling.options import ProfileOptions
from inference.profiling.report.advice import Tried
from inference.profiling.report.report import write_report
from inference.profiling.report.stored import compare, load, store
from inference.profiling.run import ProfileResult, run_profile
from tests.browser.watched import CHROMIUM, program
from tests.media import real_clip


def browse(page: Path, *flags: str) -> str:
    command = [program("chromium"), *CHROMIUM.split(), f"--user-data-dir={page.parent / 'chromium'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def slow_calls(result: ProfileResult) -> list[SlowFirstCall]:
    slow = replace(result.summary.first_calls[0], first_ms=900.0, steady_ms=10.0)
    return explain((slow,), FirstCallConditions(device="cuda", is_rocm=True))


def test_the_report_shows_verdict_stages_charts_advice_and_comparison_without_a_network(tmp_path: Path) -> None:
    options = ProfileOptions(
        model_name="shufflenet_v2_x0_5", input_path=str(real_clip("a.mp4")), input_sizes=(64,), max_steps=30
    )
    earlier = load(store(run_profile(options, tmp_path), tmp_path))
    result = run_profile(replace(options, batch_size=2), tmp_path)
    page = write_report(
        result,
        tmp_path,
        tried=[Tried("--prep-on-gpu <b>", 10.0, 6.0)],
        slow_first_calls=slow_calls(result),
        comparison=compare(earlier, result),
    )
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page.read_text())
    shown = browse(page, "--dump-dom")
    assert f"shufflenet_v2_x0_5: {result.verdict.bound.value}" in shown
    assert len(re.findall(r"<svg", shown)) == 3
    assert "--prep-on-gpu &lt;b&gt;: -40% of a step" in shown
    assert "MIOPEN_USER_DB_PATH" in shown
    assert "batch_size (1 → 2)" in shown
    browse(page, f"--screenshot={tmp_path / 'page.png'}")
    with Image.open(tmp_path / "page.png") as picture:
        assert len(set(picture.convert("RGB").resize((300, 180)).get_flattened_data())) > 50  # painted, not blank
