"""Decisions about partitions: recorded entries and facts in, decisions out; no clock, no server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from storage.tables.wildcards import TablePartition
from tasks.ingest.model import (
    BackfillRange,
    CheckFailure,
    Facts,
    Partition,
    PartitionDecision,
    PartitionEntry,
    PartitionState,
)
from tasks.ingest.plan import backoff_seconds, find_partitions, next_due, plan
from tasks.ingest.sources import IngestSource

NOW = datetime(2025, 1, 15, 18, 0, tzinfo=UTC)  # 02:00 on the 16th in Shanghai
SECONDS = NOW.timestamp()
SETTLED = NOW - timedelta(hours=1)


def source(**changes: object) -> IngestSource:
    fields: dict[str, object] = {
        "name": "clips",
        "tables": "odps://p/in/ds={date}",
        "outputs": "odps://p/out/ds={date}",
        "start": "2025-01-01",
        "settled_seconds": 600,
    }
    return IngestSource.model_validate(fields | changes)


def listed(*days: str, modified_at: datetime | None = SETTLED) -> list[TablePartition]:
    return [TablePartition(f"odps://p/in/ds={day}", (day,), modified_at) for day in days]


def decisions(
    asked: IngestSource,
    days: list[TablePartition],
    facts: Facts | CheckFailure | Mapping[str, Facts | CheckFailure],
    entries: Mapping[str, PartitionEntry] | None = None,
    **options: object,
) -> list[PartitionDecision]:
    partitions = find_partitions(asked, days, (), NOW)

    def facts_of(partition: Partition) -> Facts | CheckFailure:
        if not isinstance(facts, Mapping):
            return facts
        return facts[partition.moment.date().isoformat()]

    return plan(asked, partitions, entries or {}, facts_of, NOW, **options)  # type: ignore[arg-type]


def one(facts: Facts | CheckFailure, entry: PartitionEntry | None = None, **changes: object) -> PartitionDecision:
    entries = {"2025-01-10": entry} if entry else {}
    (decision,) = decisions(source(**changes), listed("20250110"), facts, entries)
    return decision


READY = Facts(run_id="r", rows=5, results=0)


# -- which partitions there are, and in which order --


def moments(partitions: list[Partition]) -> list[str]:
    return [partition.moment.date().isoformat() for partition in partitions]


@pytest.mark.parametrize(("order", "expected"), [("oldest", ["03", "09", "10"]), ("newest", ["10", "09", "03"])])
def test_days_off_are_caught_up_in_the_order_asked_for(order: str, expected: list[str]) -> None:
    found = find_partitions(source(order=order), listed("20250109", "20250103", "20250110"), (), NOW)
    assert moments(found) == [f"2025-01-{day}" for day in expected]


def test_days_before_the_start_and_values_that_are_no_day_are_left_out() -> None:
    assert moments(find_partitions(source(), listed("20241231", "backup", "20250101"), (), NOW)) == ["2025-01-01"]


@pytest.mark.parametrize(
    ("field", "zone", "expected"),
    [
        ("date", "UTC", ["2025-01-14", "2025-01-15"]),
        ("yesterday", "UTC", ["2025-01-14"]),
        ("date", "Asia/Shanghai", ["2025-01-14", "2025-01-15", "2025-01-16"]),
        ("yesterday", "Asia/Shanghai", ["2025-01-14", "2025-01-15"]),
        ("yesterday", "America/Los_Angeles", ["2025-01-14"]),
    ],
)
def test_a_day_comes_and_is_over_by_the_sources_own_clock(field: str, zone: str, expected: list[str]) -> None:
    asked = source(tables=f"odps://p/in/ds={{{field}}}", outputs=f"odps://p/out/ds={{{field}}}", timezone=zone)
    found = find_partitions(asked, listed("20250114", "20250115", "20250116", "20250117"), (), NOW)
    assert moments(found) == expected


def test_a_backfill_reaches_before_the_start_and_comes_after_what_is_new() -> None:
    days = listed("20241201", "20241202", "20241203", "20250102", "20250101")
    found = find_partitions(source(), days, (BackfillRange("2024-12-02", "2024-12-31", "newest"),), NOW)
    assert moments(found) == ["2025-01-01", "2025-01-02", "2024-12-03", "2024-12-02"]


def test_the_output_has_the_day_of_the_input() -> None:
    (found,) = find_partitions(source(outputs="odps://p/out/day={date:%Y-%m-%d}"), listed("20250102"), (), NOW)
    assert found.outputs == "odps://p/out/day=2025-01-02"


# -- one partition --


def test_a_complete_partition_without_results_is_started() -> None:
    decision = one(READY)
    assert decision.is_start
    assert (decision.entry.state, decision.entry.run_id, decision.entry.rows) == (PartitionState.RUNNING, "r", 5)


def test_a_partition_with_all_results_is_done_without_an_entry_in_the_journal() -> None:
    decision = one(replace(READY, results=5, failed_rows=2))
    assert (decision.is_start, decision.entry.state, decision.entry.failed_rows) == (False, PartitionState.DONE, 2)


def test_a_run_that_is_already_open_is_followed_and_not_started_twice() -> None:
    decision = one(replace(READY, is_run_open=True))
    assert (decision.is_start, decision.entry.state) == (False, PartitionState.RUNNING)


def test_rows_that_came_after_a_run_are_sifted_too_once_they_have_settled() -> None:
    decision = one(replace(READY, rows=8, results=5), PartitionEntry(state=PartitionState.RUNNING, run_id="r", rows=5))
    assert decision.is_start


def test_a_partition_that_changed_lately_waits_until_it_has_settled() -> None:
    (decision,) = decisions(source(), listed("20250110", modified_at=NOW - timedelta(seconds=500)), READY)
    assert not decision.is_start
    assert decision.entry.state is PartitionState.WAITING
    assert "100 s" in decision.entry.reason
    assert decision.entry.not_before == SECONDS + 100


def test_without_a_time_of_change_the_row_count_itself_is_watched() -> None:
    days = listed("20250110", modified_at=None)
    (first,) = decisions(source(), days, READY)
    assert not first.is_start
    assert first.entry.since == SECONDS
    known = {"2025-01-10": replace(first.entry, since=SECONDS - 599)}
    (second,) = decisions(source(), days, READY, known, is_asked=True)
    assert not second.is_start
    known = {"2025-01-10": replace(first.entry, since=SECONDS - 600)}
    (third,) = decisions(source(), days, READY, known, is_asked=True)
    assert third.is_start
    (grown,) = decisions(source(), days, replace(READY, rows=6), known, is_asked=True)
    assert not grown.is_start
    assert grown.entry.since == SECONDS


def test_a_missing_marker_keeps_a_partition_waiting_and_is_asked_for_again() -> None:
    decision = one(Facts(run_id="", rows=0, results=0, is_marked=False), done_marker="/m/{date}")
    assert "marker" in decision.entry.reason
    assert SECONDS < decision.entry.not_before <= SECONDS + 600


@pytest.mark.parametrize(("empty", "state"), [("wait", PartitionState.WAITING), ("skip", PartitionState.EMPTY)])
def test_an_empty_partition_is_waited_for_or_skipped_as_declared(empty: str, state: PartitionState) -> None:
    decision = one(replace(READY, rows=0), empty=empty)
    assert (decision.is_start, decision.entry.state) == (False, state)
    assert "no rows" in decision.entry.reason


def test_a_partition_that_cannot_be_read_backs_off_longer_each_time() -> None:
    first = one(CheckFailure("column gone")).entry
    assert (first.state, first.reason, first.attempts) == (PartitionState.FAILED, "column gone", 1)
    assert first.not_before == SECONDS + backoff_seconds(1)
    second = one(CheckFailure("column gone"), replace(first, not_before=0.0)).entry
    assert second.not_before == SECONDS + backoff_seconds(2)


def test_backing_off_doubles_up_to_an_hour() -> None:
    assert [backoff_seconds(attempts) for attempts in (1, 2, 3, 9, 200)] == [15, 30, 60, 3600, 3600]


def test_a_partition_is_not_checked_before_its_time_unless_a_person_asks() -> None:
    known = {"2025-01-10": PartitionEntry(state=PartitionState.FAILED, reason="broken", not_before=SECONDS + 60)}
    (kept,) = decisions(source(), listed("20250110"), READY, known)
    assert kept.entry == known["2025-01-10"]
    (asked,) = decisions(source(), listed("20250110"), READY, known, is_asked=True)
    assert asked.is_start


@pytest.mark.parametrize("state", [PartitionState.DONE, PartitionState.EMPTY])
def test_a_settled_partition_costs_no_check(state: PartitionState) -> None:
    (decision,) = decisions(
        source(), listed("20250110"), {}, {"2025-01-10": PartitionEntry(state=state)}, is_asked=True
    )
    assert decision.entry.state is state


# -- many partitions --

DAYS = listed(*(f"202501{day:02}" for day in range(1, 11)))


def started(found: list[PartitionDecision]) -> list[str]:
    return [decision.key for decision in found if decision.is_start]


def test_no_more_runs_start_than_the_source_may_have_at_once() -> None:
    found = decisions(source(max_runs=3), DAYS, READY)
    assert started(found) == ["2025-01-01", "2025-01-02", "2025-01-03"]
    assert "max_runs = 3" in found[3].entry.reason


def test_runs_under_way_take_their_places_and_ended_ones_give_them_back() -> None:
    running = {
        "2025-01-01": PartitionEntry(state=PartitionState.RUNNING, run_id="a"),
        "2025-01-02": PartitionEntry(state=PartitionState.RUNNING, run_id="b"),
    }
    facts: dict[str, Facts | CheckFailure] = {f"2025-01-{day:02}": READY for day in range(1, 11)}
    facts["2025-01-02"] = Facts(run_id="b", rows=5, results=5)
    found = decisions(source(max_runs=2), DAYS, facts, running, open_runs={"a"})
    assert [decision.entry.state for decision in found[:2]] == [PartitionState.RUNNING, PartitionState.DONE]
    assert started(found) == ["2025-01-03"]


def test_a_paused_source_starts_nothing_and_says_so() -> None:
    found = decisions(source(max_runs=3), DAYS, READY, is_paused=True)
    assert not started(found)
    assert "paused" in found[0].entry.reason


def test_a_partition_that_cannot_be_read_delays_no_other() -> None:
    facts: dict[str, Facts | CheckFailure] = {f"2025-01-{day:02}": READY for day in range(1, 11)}
    facts["2025-01-01"] = CheckFailure("broken")
    assert started(decisions(source(max_runs=2), DAYS, facts)) == ["2025-01-02", "2025-01-03"]


def test_a_check_counts_rows_of_a_bounded_number_of_partitions_and_the_next_continues() -> None:
    unmarked = Facts(run_id="", rows=0, results=0, is_marked=False)
    first = decisions(source(), DAYS, unmarked, most_checks=4)
    assert [decision.is_left_over for decision in first] == [False] * 4 + [True] * 6
    assert next_due(source(), first, NOW) == NOW
    known = {decision.key: decision.entry for decision in first}
    second = decisions(source(), DAYS, unmarked, known, most_checks=4)
    assert [decision.is_left_over for decision in second] == [False] * 8 + [True] * 2


def test_without_room_for_a_run_the_next_check_comes_by_schedule() -> None:
    found = decisions(source(max_runs=1, every_minutes=7), DAYS, READY, most_checks=2)
    assert next_due(source(every_minutes=7), found, NOW) == NOW + timedelta(minutes=7)


def test_the_next_check_is_due_by_schedule_or_sooner_for_a_waiting_partition() -> None:
    asked = source(crontab="0 2 * * *", timezone="Asia/Shanghai")
    assert next_due(asked, [], NOW) == datetime(2025, 1, 16, 18, 0, tzinfo=UTC)
    waiting = decisions(asked, listed("20250110", modified_at=NOW - timedelta(seconds=500)), READY)
    assert next_due(asked, waiting, NOW) == NOW + timedelta(seconds=100)
