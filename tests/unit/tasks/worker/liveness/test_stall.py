from __future__ import annotations

from tasks.telemetry.pulse import Pulse
from tasks.worker.liveness.stall import StallClock
from tests.unit.tasks.worker.clock import ManualClock


def test_a_stall_lasts_only_while_messages_wait_and_the_gate_is_open() -> None:
    clock, pulse = ManualClock(), Pulse(received_at=0.0)
    stall = StallClock(pulse, clock)
    clock.seconds += 5.0
    assert stall.seconds(has_waiting=True) == 5.0
    assert stall.seconds(has_waiting=False) == 0.0

    clock.seconds += 5.0
    pulse.is_gate_open = False
    assert stall.seconds(has_waiting=True) == 0.0

    pulse.is_gate_open = True
    clock.seconds += 5.0
    pulse.received_at = clock.seconds - 1.0
    assert stall.seconds(has_waiting=True) == 1.0


def test_time_without_a_broker_does_not_count_as_a_stall() -> None:
    clock = ManualClock()
    stall = StallClock(Pulse(received_at=0.0), clock)
    clock.seconds += 5.0
    stall.restart()
    assert stall.seconds(has_waiting=True) == 0.0
