"""Messages of a schema that this worker does not know, with a real ledger and without a broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tasks.delivery.deferral import MOST_REFUSALS, read
from tasks.messages import SCHEMA, dump_row, load_row
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.runtime import Runtime
from tests.unit.tasks.test_messages import ROW


@pytest.fixture
def opened(rt: Runtime) -> Iterator[Runtime]:
    runtime.set_current(rt)
    yield rt
    runtime.set_current(None)


@pytest.fixture
def task() -> Any:
    return SimpleNamespace(request=SimpleNamespace(chain=["infer"]))


def newer(**fields: object) -> dict[str, Any]:
    return {**dump_row(ROW), "schema": SCHEMA + 1, **fields}


def test_a_message_of_this_schema_is_read_and_its_chain_goes_on(opened: Runtime, task: Any) -> None:
    assert read(task, TaskName.DOWNLOAD, dump_row(ROW), load_row) == ROW
    assert task.request.chain == ["infer"]
    assert len(opened.deferred) == 0


def test_a_newer_message_is_deferred_unchanged_for_any_node_and_its_chain_stops(
    opened: Runtime, task: Any, client: redis.Redis
) -> None:
    assert read(task, TaskName.INFER, newer(node="n1", spool_key="k", unheard_of=[1]), load_row) is None
    assert task.request.chain is None
    (kept,) = client.zrange("tamis:deferred", 0, -1)
    assert json.loads(kept) == ["tasks.infer", [newer(node="", spool_key="k", unheard_of=[1], refusals=1)]]


def test_a_message_that_no_worker_can_read_is_dropped_after_many_refusals_with_an_error(
    opened: Runtime, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(task, TaskName.DOWNLOAD, newer(refusals=MOST_REFUSALS - 1), load_row) is None
    assert len(opened.deferred) == 1
    assert read(task, TaskName.DOWNLOAD, newer(refusals=MOST_REFUSALS), load_row) is None
    assert len(opened.deferred) == 1
    assert "the sweep feeds its row again" in caplog.text
