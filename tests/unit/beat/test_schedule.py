from __future__ import annotations

from beat.schedule import SCHEDULE


def test_a_tick_expires_before_the_next_one_so_that_none_pile_up() -> None:
    assert SCHEDULE
    for entry in SCHEDULE.values():
        assert 0 < entry["options"]["expires"] <= entry["schedule"]


def test_feeding_sweeping_and_rescuing_are_all_scheduled() -> None:
    tasks = {entry["task"] for entry in SCHEDULE.values()}
    assert tasks == {"tasks.chores.top_up", "tasks.chores.sweep", "tasks.chores.rescue"}
