from __future__ import annotations

from beat.schedule import SCHEDULE
from tasks.queues import PERIOD_HEADER


def test_a_periodic_message_expires_before_the_next_one_and_names_its_period() -> None:
    assert SCHEDULE
    for entry in SCHEDULE.values():
        assert 0 < entry["options"]["expires"] <= entry["schedule"]
        assert entry["options"]["headers"] == {PERIOD_HEADER: entry["schedule"]}


def test_feeding_sweeping_rescuing_and_ingesting_are_all_scheduled() -> None:
    tasks = {entry["task"] for entry in SCHEDULE.values()}
    chores = {"top_up", "sweep", "rescue", "ingest"}
    assert tasks == {f"tasks.chores.{chore}" for chore in chores}
