"""``tamis up`` and signals: a drain begins although the terminal that it would be announced on is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tasks.cli.up import _stop_on_signals
from tasks.node.supervise import Supervisor


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("error", [BrokenPipeError("gone"), RuntimeError("reentrant call")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_begins_the_drain_and_a_second_one_stops_although_no_line_can_be_printed(
    number: signal.Signals, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def echo(_line: str) -> None:
        raise error

    monkeypatch.setattr(click, "echo", echo)
    supervisor = Supervisor([], tmp_path, print)
    _stop_on_signals(supervisor)
    os.kill(os.getpid(), number)
    assert (supervisor.stop.is_set(), supervisor.kill_now.is_set()) == (True, False)
    os.kill(os.getpid(), number)
    assert supervisor.kill_now.is_set()
