"""Upload sessions: blocks stay invisible until the commit, which applies all of them at once."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.servers.odps import arrow, records
from tests.servers.odps.refusals import Refusal
from tests.servers.odps.schema import Row, ServedSchema, Spec, spec_text
from tests.servers.odps.sessions import Sessions, flag, json_response, request_id
from tests.servers.odps.store import Store
from tests.servers.wire import Request, Response

MAX_BLOCK_ID = 19_999
MAX_FIELD_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class UploadSession:
    """The blocks received so far, and their destination."""

    schema: ServedSchema
    spec: Spec
    is_overwrite: bool
    blocks: dict[int, Sequence[Row]] = field(default_factory=dict)
    status: str = "normal"
    next_status: str = ""  # when it is described next
    lock: threading.Lock = field(default_factory=threading.Lock)


def upload_to_table(
    store: Store, sessions: Sessions[UploadSession], false_commits: list[str], table: str, request: Request
) -> Response:
    """``POST ?uploads`` opens, ``PUT ?uploadid&blockid`` sends a block, ``GET ?uploadid`` lists, ``POST`` commits."""
    owner = table.lower()
    if "uploads" in request.query:
        return _described(sessions, owner, sessions.open(owner, _open(store, owner, request)))
    session_id = request.query["uploadid"]
    if request.method == "GET":
        return _described(sessions, owner, session_id)
    upload = sessions.get(owner, session_id)
    with upload.lock:
        if upload.status != "normal":
            message = "You cannot complete the specified operation under the current upload or download status"
            raise Refusal(409, "StatusConflict", message)
        if request.method == "PUT":
            upload.blocks[_block_id(request)] = _rows(upload.schema, request)
            return Response(200, headers=request_id())
        if false_commits:  # the reply is a success, and the session as it was
            upload.status, upload.next_status = false_commits.pop(0), "normal"
        else:
            _commit(store, owner, upload)
    return _described(sessions, owner, session_id)


def body_of(request: Request) -> bytes:
    """Return the request's body, decompressed."""
    match request.headers.get("content-encoding", ""):
        case "":
            return request.body
        case "deflate":
            try:
                return zlib.decompress(request.body)
            except zlib.error as error:
                raise Refusal(400, "CorruptedDataStream", f"The data stream was corrupted: {error}") from error
        case encoding:
            raise Refusal(400, "InvalidArgument", f"The test server does not know Content-Encoding: {encoding}")


def _open(store: Store, table: str, request: Request) -> UploadSession:
    schema = store.table(table).schema
    wanted = request.query.get("partition", "")
    if schema.partitions and flag(request, "create_partition"):
        store.add_partition(table, schema.spec(wanted))
    is_overwrite = flag(request, "overwrite")
    if is_overwrite and schema.primary_key:
        raise Refusal(400, "OverwriteModeNotAllowed", "A Delta table cannot be overwritten through the tunnel")
    return UploadSession(schema, store.partition(table, wanted), is_overwrite)


def _block_id(request: Request) -> int:
    text = request.query.get("blockid", "")
    if not text.isdecimal() or int(text) > MAX_BLOCK_ID:
        raise Refusal(400, "InvalidBlockID", f"The specified block id is not valid: {text}")
    return int(text)


def _rows(schema: ServedSchema, request: Request) -> Sequence[Row]:
    if "arrow" in request.query:
        return arrow.decode(schema.columns, body_of(request))
    return records.decode(schema.types, body_of(request))


def _commit(store: Store, table: str, upload: UploadSession) -> None:
    with store.transaction():
        store.partition(table, spec_text(upload.spec))  # it may be dropped by now
        rows = [row for _, block in sorted(upload.blocks.items()) for row in block]
        store.write(table, upload.spec, rows, is_overwrite=upload.is_overwrite)
    upload.status = "closed"


def _described(sessions: Sessions[UploadSession], owner: str, session_id: str) -> Response:
    upload = sessions.peek(owner, session_id)
    status, upload.status, upload.next_status = upload.status, upload.next_status or upload.status, ""
    is_expired = status == "normal" and sessions.is_expired(owner, session_id)
    return json_response(
        {
            "UploadID": session_id,
            "Status": "expired" if is_expired else status,
            "UploadedBlockList": [{"BlockID": block_id} for block_id in sorted(upload.blocks)],
            "MaxFieldSize": MAX_FIELD_BYTES,
            "Schema": upload.schema.described(),
        }
    )
