"""A batch upserted into a primary-key (Delta) table: the same rows again change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from storage.json_text import Scalar
from storage.tables.odps.client import OdpsTable
from storage.tables.odps.layout import Layout


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
