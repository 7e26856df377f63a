from __future__ import annotations

import json

import pytest

from tasks.messages import (
    Downloaded,
    RowMessage,
    UnknownSchema,
    dump_downloaded,
    dump_row,
    load_downloaded,
    load_row,
    row_of,
)

ROW = RowMessage(run_id="r1", shard_id="0", ordinal=7, record={"video_id": "v", "info": "{}", "score": 1.5, "x": None})
DOWNLOADED = Downloaded(row=ROW, node="n1", spool_key="ab" * 32, tier="cpfs", milliseconds=1.25)


def test_a_row_is_equal_after_dump_and_load() -> None:
    assert load_row(json.loads(json.dumps(dump_row(ROW)))) == ROW


def test_a_download_is_equal_after_dump_and_load() -> None:
    assert load_downloaded(json.loads(json.dumps(dump_downloaded(DOWNLOADED)))) == DOWNLOADED


def test_the_bytes_of_messages_are_those_of_earlier_releases() -> None:
    row = '{"schema": 1, "run_id": "r1", "shard_id": "0", "ordinal": 7, "record": {"video_id": "v", "info": "{}", '
    row += '"score": 1.5, "x": null}}'
    assert json.dumps(dump_row(ROW)) == row
    rest = f'"node": "n1", "spool_key": "{"ab" * 32}", "tier": "cpfs", "milliseconds": 1.25'
    assert json.dumps(dump_downloaded(DOWNLOADED)) == f'{{"schema": 1, "row": {row}, {rest}}}'


def test_a_message_without_a_field_is_a_value_error_that_names_it() -> None:
    message = dump_row(ROW)
    del message["shard_id"]
    with pytest.raises(ValueError, match="shard_id"):
        load_row(message)


def test_unknown_keys_of_a_newer_release_with_the_same_schema_are_ignored() -> None:
    assert load_row({**dump_row(ROW), "new": 1}) == ROW


@pytest.mark.parametrize("schema", [None, 0, 2, "1"])
def test_a_message_of_another_schema_is_refused_by_number(schema: object) -> None:
    with pytest.raises(UnknownSchema, match=repr(schema)):
        load_row({**dump_row(ROW), "schema": schema})


def test_row_of_returns_the_row_of_a_holder() -> None:
    assert row_of(ROW.holder) == ("r1", ROW.shard_id, 7)
