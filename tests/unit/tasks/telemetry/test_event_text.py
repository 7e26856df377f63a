"""The texts of a row's messages in Flower and `celery events`."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from storage.records import ResultRow
from tasks.messages import Downloaded, RowMessage, dump_downloaded, dump_row
from tasks.queues import TaskName, gpu_queue
from tasks.telemetry.event_text import MOST_CHARACTERS, about_row, described_route, verdict

ROW = RowMessage(run_id="r1", shard_id="s1", ordinal=3, record={"video_id": "v3", "info": "x" * 5000})
DOWNLOADED = Downloaded(row=ROW, node="n1", spool_key="k", tier="oss", milliseconds=1.0)


@pytest.mark.parametrize(
    ("name", "message", "queue"),
    [(TaskName.DOWNLOAD, dump_row(ROW), "io"), (TaskName.INFER, dump_downloaded(DOWNLOADED), gpu_queue("n1"))],
)
def test_a_rows_message_is_routed_by_name_and_described_by_video_run_and_ordinal(
    name: str, message: Any, queue: str
) -> None:
    chosen = described_route(name, (message,), {}, {})
    assert chosen is not None
    assert chosen.pop("queue") == queue
    assert json.loads(chosen.pop("argsrepr")) == {"video": "v3", "run": "r1", "ordinal": 3}
    assert not chosen


def test_messages_of_no_row_are_described_by_celery() -> None:
    assert described_route(TaskName.FEED, ("r1",), {}, {}) == {"queue": "control"}
    assert described_route("celery.backend_cleanup", (), {}, {}) is None


@pytest.mark.parametrize("args", [None, (), (1,), ({"schema": 9},), ({"row": None},), ({"row": "text"},)])
def test_an_unknown_message_form_is_sent_without_description(args: Any) -> None:
    assert about_row(args) is None


def test_a_row_whose_record_names_no_video_still_has_run_and_ordinal() -> None:
    assert about_row(({"run_id": "r1", "ordinal": 1, "record": None},)) == {"video": "None", "run": "r1", "ordinal": 1}


def test_an_id_with_terminal_control_is_described_as_data() -> None:
    record = {"video_id": "a\x9b2J\u202e"}
    described = about_row(({"run_id": "r1", "ordinal": 1, "record": record},))
    assert described is not None
    assert described["video"] == "a\\x9b2J\\u202e"


def result(info: dict[str, Any], outcome: str = "ok") -> ResultRow:
    return cast("ResultRow", SimpleNamespace(info=info, outcome=outcome, is_ok=outcome == "ok"))


def test_a_verdict_names_what_is_not_normal() -> None:
    windows = {"0": {"f_filter": {"label": "low_quality_video"}}, "1": {"f_filter": {"label": "normal_video"}}}
    windows["2"] = windows["0"]
    info = {"use_alluxio": True, "vfx_filter": {"label": "normal_video"}, "seg_f_filter": windows}
    assert verdict(result(info)) == "ok: low quality 2/3"
    assert verdict(result({"vfx_filter": {"label": "normal_video"}})) == "ok: normal"
    assert verdict(result({"static_filter": {"label": "unsure"}})) == "ok: static unsure"
    assert verdict(result({}, "not_a_video")) == "failed: not_a_video"


def test_a_verdict_of_many_outputs_is_cut() -> None:
    info = {f"filter_number_{number}": {"label": f"odd in its way {number}"} for number in range(100)}
    assert len(verdict(result(info))) == MOST_CHARACTERS
