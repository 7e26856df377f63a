"""Exactly-once append of a batch to a MaxCompute partition: all workers that write it share one upload session."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from odps import errors

from storage.errors import StorageError, Unavailable
from storage.json_text import Scalar
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.errors import DAMAGED, SDK_ERRORS, is_passing
from storage.tables.odps.layout import TableLayout

BLOCK = 0  # a batch is one block: it is complete or absent, and sending it again replaces it
BLOCK_BYTES = 2**31 - 1
CLOSING_POLL_SECONDS = 0.2

Values = Sequence[Sequence[Scalar]]


class UploadLost(Exception):
    """The session has ended, and the service does not say whether it was committed."""


def open_upload(table: OdpsTable, layout: TableLayout) -> str:
    """Begin a session and return its id. It lasts a day and has no effect unless it is committed."""
    session = table.client.tables.create_upload_session(table.handle, partition_spec=layout.spec)
    return str(session.id)


def finish_upload(table: OdpsTable, layout: TableLayout, upload_id: str, values: Values) -> None:
    """Complete the session from any state; ``UploadLost`` if the service ended it."""
    session = _attached(table, layout, upload_id)
    if session.status.name == "Normal":
        try:
            if BLOCK not in {int(block) for block in session.blocks}:
                _send_block(session, values)
            session.commit([BLOCK])
        except (*SDK_ERRORS, *DAMAGED, StorageError):
            # The commit may have been applied in spite of the error: ask for the session's status.
            session = _attached(table, layout, upload_id)
            if session.status.name == "Normal":
                raise
    _await_closed(table, session)


def _attached(table: OdpsTable, layout: TableLayout, upload_id: str) -> Any:
    try:
        return table.client.tables.create_upload_session(table.handle, partition_spec=layout.spec, upload_id=upload_id)
    except errors.BaseODPSError as error:
        refusals = (errors.NoPermission, errors.AuthorizationRequired, errors.SignatureNotMatch)
        if error.status_code is None or is_passing(error) or isinstance(error, refusals):
            raise
        raise UploadLost(upload_id) from None


def _send_block(session: Any, values: Values) -> None:
    with session.open_record_writer(buffer_size=BLOCK_BYTES) as writer:
        for row in values:
            writer.write(session.new_record(list(row)))


def _await_closed(table: OdpsTable, session: Any) -> None:
    deadline = time.monotonic() + table.connection.limits.retry_seconds
    while session.status.name == "Closing":
        if time.monotonic() > deadline:
            raise Unavailable(f"{table.url}: a commit is not finished yet; it is checked again later")
        time.sleep(CLOSING_POLL_SECONDS)
        session.reload()
    if session.status.name not in {"Closed", "Normal"}:
        raise UploadLost(session.id)


def upsert(table: OdpsTable, layout: TableLayout, values: Sequence[Sequence[Scalar]]) -> None:
    """Upsert all rows by key, or none."""
    limits = table.connection.limits
    session = table.client.tables.create_upsert_session(
        table.handle, partition_spec=layout.spec, commit_timeout=limits.retry_seconds
    )
    with closing(session):
        with session.open_upsert_stream() as stream:
            for row in values:
                stream.upsert(session.new_record(list(row)))
        session.commit()
