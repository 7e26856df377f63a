"""The bench of signals prints its line, and tells a difference. No test bounds a speed."""

from __future__ import annotations

import re

import pytest

from bench import signals
from bench.__main__ import main
from tests.media import write_clip


@pytest.mark.parametrize(("same", "word"), [(True, "yes"), (False, "no")])
def test_the_command_prints_the_line_with_the_largest_share(
    same: bool, word: str, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_clip(tmp_path / "clip.mp4", 30)
    monkeypatch.setattr(signals, "joined", lambda *_: path)
    monkeypatch.setattr(signals, "_verdicts_are_equal", lambda _: same)
    assert main(["--case", "signals", "--short"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"bench signals: cost_share=\d+\.\d{{3}} equal={word}", line)
