"""The bench of the estimate prints a line for each corpus and for the list of runs. No test bounds a speed."""

from __future__ import annotations

import re

import pytest

from bench import estimate
from bench.__main__ import main
from tests.small_manifest import SMALL


def test_the_command_prints_a_line_for_each_corpus_and_for_the_list_of_runs(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    monkeypatch.setattr(estimate, "MANIFEST", str(tmp_path / "small.toml"))
    monkeypatch.setattr(estimate, "CACHE", tmp_path)
    monkeypatch.setattr(estimate, "SWITCHES", frozenset({"vfx_enable"}))
    monkeypatch.setattr(
        estimate, "CORPORA", {"tiny": lambda count: [("libx264", 10 + n, 64, 36) for n in range(count)]}
    )
    assert main(["--case", "estimate", "--short"]) == 0
    corpus, history = capsys.readouterr().out.splitlines()[-2:]
    assert re.fullmatch(
        r"bench estimate: corpus=tiny decode_cpu_s=\S+ device_cpu_s=\S+ error=\d+% interval=\S+ held=\d+/100", corpus
    )
    assert re.fullmatch(r"bench estimate: history_runs=100 list_cpu_ms=\d+", history)
