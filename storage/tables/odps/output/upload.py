"""Exactly-once append of a batch to a MaxCompute partition: all workers that write it share one upload session."""

from __future__ import annotations

import time
from collections.abc import Sequence
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


class ColumnsChanged(Exception):
    """The table's columns are no longer those of the layout: read it again."""


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
                _send_block(session, layout, values)
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


def _send_block(session: Any, layout: TableLayout, values: Values) -> None:
    check_columns(session, layout)
    with session.open_record_writer(buffer_size=BLOCK_BYTES) as writer:
        for row in values:
            writer.write(session.new_record(list(row)))


def _await_closed(table: OdpsTable, session: Any) -> None:
    """Wait for the end of a commit. Only ``Closed`` is one: a session may fall back from ``Closing`` to ``Normal``."""
    deadline = time.monotonic() + table.connection.limits.retry_seconds
    while session.status.name == "Closing":
        if time.monotonic() > deadline:
            raise Unavailable(f"{table.url}: a commit is not finished yet; it is checked again later")
        time.sleep(CLOSING_POLL_SECONDS)
        session.reload()
    if session.status.name == "Normal":
        raise Unavailable(f"{table.url}: the service did not apply a commit; it is tried again later")
    if session.status.name != "Closed":
        raise UploadLost(session.id)


def open_upsert(table: OdpsTable, layout: TableLayout) -> Any:
    """Begin an upsert session, which has no effect unless it is committed."""
    limits = table.connection.limits
    session = table.client.tables.create_upsert_session(
        table.handle, partition_spec=layout.spec, commit_timeout=limits.retry_seconds
    )
    session.close()  # ends the SDK's thread, which would keep the session alive
    return session


def finish_upsert(session: Any, layout: TableLayout, values: Values) -> None:
    """Upsert all rows by key, or none. Fails if another worker aborted the session."""
    check_columns(session, layout, hidden=session.UPSERT_EXTRA_COL_NUM)
    with session.open_upsert_stream() as stream:
        for row in values:
            stream.upsert(session.new_record(list(row)))
    session.commit()


def abort_upsert(table: OdpsTable, layout: TableLayout, session_id: str) -> bool:
    """End another worker's session, so that it cannot commit any more; False if it has committed."""
    try:
        session = table.client.tables.create_upsert_session(
            table.handle, partition_spec=layout.spec, upsert_id=session_id
        )
        session.close()
        if session.status.name == "Normal":
            session.abort()
        session.reload()
    except (errors.UpsertSessionNotFound, errors.StreamSessionNotFound):
        return True
    if session.status.name == "Committing":
        raise Unavailable(f"{table.url}: another worker's commit is not finished yet; it is checked again later")
    return bool(session.status.name != "Committed")


def check_columns(session: Any, layout: TableLayout, hidden: int = 0) -> None:
    """Raise ``ColumnsChanged`` unless the session takes the layout's columns."""
    names = [column.name.lower() for column in session.schema.simple_columns]
    if names[: len(names) - hidden] != list(layout.columns):
        raise ColumnsChanged
