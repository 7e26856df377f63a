"""A batch appended to a MaxCompute partition exactly once: all who write it go through one upload session."""

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
from storage.tables.odps.layout import Layout

BLOCK = 0  # a batch is one block: it is there or not, and being sent again it takes its own place
BLOCK_BYTES = 2**31 - 1
CLOSING_POLL_SECONDS = 0.2

Values = Sequence[Sequence[Scalar]]


class UploadLost(Exception):
    """The session has ended without saying whether it was committed."""


def open_upload(table: OdpsTable, layout: Layout) -> str:
    """Begin a session, which lasts a day and leaves nothing behind unless it is committed; return its id."""
    session = table.client.tables.create_upload_session(table.handle, partition_spec=layout.spec)
    return str(session.id)


def finish_upload(table: OdpsTable, layout: Layout, upload_id: str, values: Values) -> None:
    """Bring the session to its end from wherever it stands; ``UploadLost`` where that cannot be done."""
    session = _attached(table, layout, upload_id)
    if session.status.name == "Normal":
        try:
            if BLOCK not in {int(block) for block in session.blocks}:
                _send_block(session, values)
            session.commit([BLOCK])
        except (*SDK_ERRORS, *DAMAGED, StorageError):
            # Whatever went wrong, the commit may have been applied all the same: the session knows.
            session = _attached(table, layout, upload_id)
            if session.status.name == "Normal":
                raise
    _await_closed(table, session)


def _attached(table: OdpsTable, layout: Layout, upload_id: str) -> Any:
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
    deadline = time.monotonic() + table.connection.patience.retry_seconds
    while session.status.name == "Closing":
        if time.monotonic() > deadline:
            raise Unavailable(f"{table.url}: a commit takes long; looked at again later")
        time.sleep(CLOSING_POLL_SECONDS)
        session.reload()
    if session.status.name not in {"Closed", "Normal"}:
        raise UploadLost(session.id)


def upsert(table: OdpsTable, layout: Layout, values: Sequence[Sequence[Scalar]]) -> None:
    """Put all rows in place by key, or none."""
    patience = table.connection.patience
    session = table.client.tables.create_upsert_session(
        table.handle, partition_spec=layout.spec, commit_timeout=patience.retry_seconds
    )
    with closing(session):
        with session.open_upsert_stream() as stream:
            for row in values:
                stream.upsert(session.new_record(list(row)))
        session.commit()
