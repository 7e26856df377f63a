"""Download sessions: snapshots of one partition, read by ranges of rows in either format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.servers.odps import arrow, records
from tests.servers.odps.refusals import Refusal
from tests.servers.odps.schema import Row, ServedSchema
from tests.servers.odps.sessions import Sessions, json_response, request_id
from tests.servers.odps.store import Store
from tests.servers.wire import Request, Response


@dataclass(frozen=True, slots=True)
class DownloadSession:
    """The partition's rows at the time when the session was opened."""

    schema: ServedSchema
    rows: Sequence[Row]


def download_from_table(store: Store, sessions: Sessions[DownloadSession], table: str, request: Request) -> Response:
    """``POST ?downloads`` opens a session, ``GET ?downloadid`` describes it, ``&data`` reads."""
    if "downloads" in request.query:
        found = store.table(table)
        if found.schema.primary_key:
            raise Refusal(405, "MethodNotAllowed", "A Delta table can only be read through a SELECT statement")
        with store.transaction():
            spec = store.partition(table, request.query.get("partition", ""))
            return open_session(sessions, found.name, DownloadSession(found.schema, store.rows(found.name, spec)))
    return read_session(sessions, table.lower(), request)


def open_session(sessions: Sessions[DownloadSession], owner: str, snapshot: DownloadSession) -> Response:
    """Open a session of the snapshot and return its description."""
    return _described(sessions, owner, sessions.open(owner, snapshot))


def read_session(sessions: Sessions[DownloadSession], owner: str, request: Request) -> Response:
    """Return a session's description, or some of its rows."""
    session_id = request.query["downloadid"]
    if "data" not in request.query:
        return _described(sessions, owner, session_id)
    snapshot = sessions.get(owner, session_id)
    rows = _range(snapshot.rows, request.query.get("rowrange", ""))
    asked = [name for name in request.query.get("columns", "").lower().split(",") if name]
    return Response(200, _encoded(snapshot.schema, rows, asked, request), request_id())


def _encoded(schema: ServedSchema, rows: Sequence[Row], asked: Sequence[str], request: Request) -> bytes:
    places = schema.project(asked or schema.names)
    if "arrow" in request.query:  # always in the table's order
        places = tuple(sorted(places))
    rows = [tuple(row[place] for place in places) for row in rows] if asked else rows
    columns = [schema.columns[place] for place in places]
    if "arrow" in request.query:
        return arrow.encode(columns, rows)
    return records.encode([column.type for column in columns], rows)


def _range(rows: Sequence[Row], text: str) -> Sequence[Row]:
    match = re.fullmatch(r"\((\d+),(\d+)\)", text)
    start, count = map(int, match.groups()) if match else (-1, 0)
    if match is None or start + count > len(rows):
        raise Refusal(400, "InvalidRowRange", f"The specified row range is not valid: {text} of {len(rows)}")
    return rows[start : start + count]


def _described(sessions: Sessions[DownloadSession], owner: str, session_id: str) -> Response:
    snapshot = sessions.peek(owner, session_id)
    return json_response(
        {
            "DownloadID": session_id,
            "Status": "expired" if sessions.is_expired(owner, session_id) else "normal",
            "RecordCount": len(snapshot.rows),
            "Schema": snapshot.schema.described(),
        }
    )
