"""The drill's plan and its measures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import UsageError
from storage.tables.odps.connection import OdpsConnection
from storage.tables.open import open_input
from storage.tables.version import version_of
from tests.drill.node_faults import Stranded
from tests.drill.plan import FleetFault, make_plan
from tests.drill.redelivery import Absence, Kill, Outage, redeliveries
from tests.drill.rows import DECODED, OUTCOME, Kind
from tests.drill.step_log import BEGIN, END, RECEIVED, StepEvent
from tests.drill.tables import OTHER_ROWS, OdpsTables, odps_tables
from tests.drill.world import DAY, DrillWorld

VICTIM, OTHER, THIRD = 1, 2, 3
KILL = Kill("io@n1", VICTIM, 10.0)


def step(name: str, *events: tuple[float, int, str]) -> list[StepEvent]:
    return [StepEvent(at, pid, event, name) for at, pid, event in events]


def waits(
    events: list[StepEvent], outages: tuple[Outage, ...] = (), absences: tuple[Absence, ...] = (), **deaths: float
) -> dict[str, float]:
    died = {VICTIM: KILL.at} | {{"other": OTHER, "third": THIRD}[name]: at for name, at in deaths.items()}
    return {one.step: one.seconds for one in redeliveries(events, [KILL], outages, absences, died)}


INTERRUPTED = step("download 7", (9, VICTIM, RECEIVED), (9.5, VICTIM, BEGIN))


def test_a_step_waits_from_the_kill_until_another_worker_begins_it() -> None:
    assert waits(INTERRUPTED + step("download 7", (15, OTHER, RECEIVED), (16, OTHER, BEGIN))) == {"download 7": 6}


def test_a_message_that_was_received_and_not_begun_waits_as_well() -> None:
    assert waits(step("infer 7", (9, VICTIM, RECEIVED), (15, OTHER, BEGIN))) == {"infer 7": 5}


def test_a_step_that_ended_before_the_kill_was_not_interrupted() -> None:
    ended = step("download 7", (9, VICTIM, RECEIVED), (9.1, VICTIM, BEGIN), (9.9, VICTIM, END), (30, OTHER, BEGIN))
    assert waits(ended) == {}


def test_a_row_that_another_worker_had_recorded_does_not_wait() -> None:
    assert waits(INTERRUPTED + step("infer 7", (9.8, OTHER, END))) == {"download 7": 0}


def test_a_step_that_no_worker_begins_again_waits_without_end() -> None:
    assert waits(INTERRUPTED) == {"download 7": math.inf}


def test_a_worker_that_receives_the_step_and_dies_before_beginning_starts_the_wait_anew() -> None:
    again = step("download 7", (15, OTHER, RECEIVED), (22, THIRD, RECEIVED), (22, THIRD, BEGIN))
    assert waits(INTERRUPTED + again, other=15.5) == {"download 7": 6.5}


def test_steps_that_an_outage_delayed_do_not_count_and_others_do() -> None:
    again = INTERRUPTED + step("download 7", (12, OTHER, BEGIN))
    assert waits(again, (Outage("broker away", 11, 14),)) == {}
    assert waits(again, (Outage("gpu0@n1 frozen", 11, 14, "infer "),)) == {"download 7": 2}
    assert waits(again, (Outage("broker away", 13, 14),)) == {"download 7": 2}


def test_time_without_a_worker_of_the_role_does_not_count() -> None:
    again = INTERRUPTED + step("download 7", (19, OTHER, BEGIN))
    assert waits(again, absences=(Absence(9, 12, "download "), Absence(14, 15, "download "))) == {"download 7": 6}
    assert waits(again, absences=(Absence(9, 12, "infer "), Absence(20, 30, "download "))) == {"download 7": 9}


def test_equal_seeds_give_equal_plans_and_different_seeds_different_plans() -> None:
    assert make_plan(1000, 20, 7) == make_plan(1000, 20, 7)
    assert make_plan(1000, 20, 7) != make_plan(1000, 20, 8)


def test_a_plan_has_every_kind_of_row_and_fault_before_the_end_of_the_run() -> None:
    plan = make_plan(300, 6, 1)
    assert {row.kind for row in plan.rows} == set(Kind) == set(OUTCOME)
    assert {planned.fault for planned in plan.faults} == set(FleetFault)
    assert sum(planned.fault is FleetFault.KILL for planned in plan.faults) == 6
    assert all(6 <= planned.at_row <= 255 for planned in plan.faults)


def test_rows_of_one_video_have_equal_content_and_poison_files_begin_with_their_fault() -> None:
    plan = make_plan(300, 6, 1)
    shared = next(row for row in plan.rows if row.video != row.ordinal)
    assert shared.content(1) == plan.rows[shared.video].content(1)
    for row in plan.rows:
        if row.kind in DECODED:
            assert row.content(1).startswith(DECODED[row.kind])


def test_messages_of_a_lost_node_wait_until_the_last_check_that_found_any() -> None:
    stranded = Stranded("n1", lost_at=100.0, messages=5)
    assert stranded.seconds == 0
    stranded.note(0, 120.0)
    assert stranded.seconds == 0
    stranded.note(1, 130.0)  # a message that a worker of the node held is back in its queue
    assert stranded.seconds == 30.0


# ── the tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tables() -> Iterator[OdpsTables]:
    with odps_tables() as served:
        yield served


def test_another_runs_rows_are_told_from_the_drills_and_a_lost_one_is_a_problem(
    tables: OdpsTables, tmp_path: Path
) -> None:
    world = DrillWorld(tmp_path, 100, 0, 1, odps_project=tables.server.project)
    tables.lay_out(world)
    assert (tables.results(), tables.count_physical()) == ([], 0)
    for _ in range(2):
        tables.write_other_run(world)
    assert (tables.results(), tables.count_physical()) == ([], 2 * OTHER_ROWS)
    assert list(tables.problems()) == []
    kept = tables.server.rows("results", f"ds={DAY}")[1:]
    tables.server.insert("results", kept, f"ds={DAY}", is_overwrite=True)
    assert list(tables.problems()) == ["the other run wrote 40 rows, and the output shows 39"]


def test_a_rewritten_input_is_refused_until_it_is_restored(tables: OdpsTables, tmp_path: Path) -> None:
    world = DrillWorld(tmp_path, 100, 0, 1, odps_project=tables.server.project)
    tables.lay_out(world)
    keys = StaticProvider(Credentials(tables.server.access_id, tables.server.secret))
    connection = OdpsConnection(tables.server.endpoint, keys, tables.server.endpoint)
    with closing(open_input(world.tables, connection)) as table:
        version = version_of(table)
        rows = table.read_rows(0, 100)
    tables.rewrite_input(seed=1)
    with pytest.raises(UsageError, match="changed after the run was submitted"):
        open_input(world.tables, connection, version)
    tables.restore_input()
    with closing(open_input(world.tables, connection, version)) as table:
        assert table.read_rows(0, 100) == rows == [row.record() for row in world.plan.rows]
