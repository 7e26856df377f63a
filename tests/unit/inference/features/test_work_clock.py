from __future__ import annotations

from inference.features.work_clock import Activity, WorkClock, add_up


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_an_instant_of_two_activities_counts_for_the_leading_one_alone():
    hand = HandClock()
    clock = WorkClock(hand)
    hand.seconds += 1  # nothing runs
    with clock.measuring(Activity.DECODE):
        hand.seconds += 2
        with clock.measuring(Activity.FORWARD):
            hand.seconds += 4
        hand.seconds += 8
    wall = clock.wall_seconds()
    assert (wall["other"], wall["decode"], wall["forward"]) == (1, 10, 4)
    assert sum(wall.values()) == hand.seconds - 100
    assert clock.thread_seconds()["decode"] == 14


def test_two_blocks_of_one_activity_fill_the_wall_clock_once_and_add_up_as_threads():
    hand = HandClock()
    clock = WorkClock(hand)
    with clock.measuring(Activity.READ), clock.measuring(Activity.READ):
        hand.seconds += 3
    assert clock.wall_seconds()["read"] == 3
    assert clock.thread_seconds()["read"] == 6


def test_the_seconds_of_processes_are_added_by_activity():
    assert add_up([{"decode": 1.0}, {"decode": 2.0, "save": 3.0}]) | {} == {
        **dict.fromkeys((one.value for one in Activity), 0.0),
        "decode": 3.0,
        "save": 3.0,
    }
