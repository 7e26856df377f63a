"""The registry of signals, and the page that is made from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inference.signals import SIGNALS, Signal

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("one", SIGNALS, ids=lambda one: one.name)
def test_each_signal_has_one_bound_and_a_band_that_leaves_both_answers(one: Signal) -> None:
    bound = one.maximum if one.maximum is not None else one.minimum
    assert (one.maximum is None) != (one.minimum is None)
    assert bound is not None
    assert 0 < one.unsure < bound


def test_the_page_shows_the_registry() -> None:
    command = [sys.executable, "docs/render_signals.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
