"""Upsert sessions for tables with a primary key: rows by key, invisible until the commit."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from tests.servers.odps import records
from tests.servers.odps.refusals import Refusal
from tests.servers.odps.schema import Row, ServedSchema, Spec
from tests.servers.odps.sessions import Sessions, json_response, request_id
from tests.servers.odps.store import Store
from tests.servers.odps.tunnel_upload import body_of
from tests.servers.wire import Request, Response

BUCKETS = 4

# After the table's columns: version, version of the application, operation, key columns, value columns.
_HIDDEN = ("bigint", "bigint", "tinyint", records.KEYS, records.KEYS)
_OPERATION = 2


@dataclass(slots=True)
class UpsertSession:
    """The rows received so far, and their destination."""

    schema: ServedSchema
    spec: Spec
    rows: list[Row] = field(default_factory=list)
    status: str = "normal"
    lock: threading.Lock = field(default_factory=threading.Lock)


def upsert_to_table(
    store: Store, sessions: Sessions[UpsertSession], address: str, table: str, request: Request
) -> Response:
    """``POST`` opens, ``PUT`` sends rows, ``GET`` describes, ``POST ?upsertid`` commits, ``DELETE`` aborts."""
    owner = table.lower()
    session_id = request.query.get("upsertid")
    if session_id is None:
        return _described(sessions, owner, sessions.open(owner, _open(store, owner, request)), address)
    if request.method == "GET":
        return _described(sessions, owner, session_id, address)
    session = sessions.get(owner, session_id)
    with session.lock:
        if request.method == "PUT":
            _receive(session, request)
            return Response(200, headers={"odps-tunnel-routed-server": address, **request_id()})
        _end(store, owner, session, request.method)
    return _described(sessions, owner, session_id, address)


def _open(store: Store, table: str, request: Request) -> UpsertSession:
    schema = store.table(table).schema
    if not schema.primary_key:
        raise Refusal(400, "InvalidArgument", f"Table {table} has no primary key: it cannot be upserted")
    return UpsertSession(schema, store.partition(table, request.query.get("partition", "")))


def _receive(session: UpsertSession, request: Request) -> None:
    _check_is_open(session)
    rows = records.decode([*session.schema.types, *_HIDDEN], body_of(request))
    if len(rows) != int(request.query.get("record_count", "-1")):
        raise Refusal(400, "InvalidParameter", f"record_count is not the {len(rows)} of the body")
    places = session.schema.project(session.schema.primary_key)
    if any(row[place] is None for row in rows for place in places):
        raise Refusal(400, "InvalidParameter", "A column of the primary key is NULL")
    session.rows += rows


def _end(store: Store, table: str, session: UpsertSession, method: str) -> None:
    if method == "DELETE":
        _check_is_open(session)
        session.status = "aborted"
    elif session.status != "committed":  # a commit may be repeated
        _check_is_open(session)
        _apply(store, table, session)
        session.status = "committed"


def _apply(store: Store, table: str, session: UpsertSession) -> None:
    width = len(session.schema.columns)
    places = session.schema.project(session.schema.primary_key)
    with store.transaction():
        for row in session.rows:
            if row[width + _OPERATION] == ord("D"):
                store.delete(table, session.spec, [row[place] for place in places])
            else:
                store.write(table, session.spec, [row[:width]])


def _check_is_open(session: UpsertSession) -> None:
    if session.status != "normal":
        raise Refusal(409, "StatusConflict", f"The upsert session is {session.status}")


def _described(sessions: Sessions[UpsertSession], owner: str, session_id: str, address: str) -> Response:
    session = sessions.peek(owner, session_id)
    is_expired = session.status == "normal" and sessions.is_expired(owner, session_id)
    return json_response(
        {
            "id": session_id,
            "status": "expired" if is_expired else session.status,
            "slots": [{"slot_id": "0", "worker_addr": address, "buckets": list(range(BUCKETS))}],
            "schema": session.schema.described(),
            "hash_key": list(session.schema.primary_key),
            "hasher": "default",
            "enable_partial_update": False,
        }
    )
