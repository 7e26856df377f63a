"""Jobs: an SQL statement is submitted as XML, polled, and its rows fetched as CSV or through the instance tunnel."""

from __future__ import annotations

import base64
import csv
import io
import json
import threading
import uuid
from dataclasses import dataclass, field
from email.utils import formatdate
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.servers.odps.meta import xml_response
from tests.servers.odps.refusals import Refusal, SqlError
from tests.servers.odps.sessions import Sessions
from tests.servers.odps.sql import SelectedRows, Statement, execute
from tests.servers.odps.store import Store
from tests.servers.odps.tunnel_download import DownloadSession, open_session, read_session
from tests.servers.odps.values import restored
from tests.servers.wire import Request, Response

CSV_ROWS = 10_000  # the limit of a result without the tunnel


@dataclass(slots=True)
class Instance:
    """A job and its result."""

    job: str  # its XML
    task: str
    statement: Statement
    polls_left: int  # polls that still report it as running
    is_done: bool = False
    selection: SelectedRows | None = None
    error: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def submit(
    store: Store, instances: dict[str, Instance], statement_polls: int, project: str, request: Request
) -> Response:
    """``POST /instances``: accept a statement, and run it at once unless polls must come first."""
    job = ET.fromstring(request.body).find("Job")
    query = job.findtext("Tasks/SQL/Query") if job is not None else None
    if job is None or query is None:
        raise Refusal(400, "InvalidArgument", "The test server runs jobs of one SQL task")
    name, source = uuid.uuid4().hex, ET.tostring(job, encoding="unicode")
    statement = Statement(project, query, may_scan_all=_settings(job).get("odps.sql.allow.fullscan") == "true")
    instances[name] = Instance(source, job.findtext("Tasks/SQL/Name") or "task", statement, statement_polls)
    if not statement_polls:
        _advance(store, instances[name])
    return Response(201, headers={"Location": f"/projects/{project}/instances/{name}"})


def instance(
    store: Store, instances: dict[str, Instance], sessions: Sessions[DownloadSession], name: str, request: Request
) -> Response:
    """``GET /instances/I``: status, ``?result``, ``?source``; ``?downloads`` of its rows; ``PUT`` stops it."""
    if (found := instances.get(name)) is None:
        raise Refusal(404, "NoSuchObject", f"ODPS-0430055: The instance does not exist - {name}")
    if "downloads" in request.query:
        if found.selection is None:
            raise Refusal(400, "InstanceTypeNotSupported", "The instance has no rows to download")
        return open_session(sessions, name, DownloadSession(found.selection.schema, found.selection.rows))
    if "downloadid" in request.query:
        return read_session(sessions, name, request)
    if "source" in request.query:
        return xml_response(found.job)
    _advance(store, found, is_stopped=request.method == "PUT")
    now = formatdate(usegmt=True)
    headers = {"x-odps-owner": "tester", "x-odps-start-time": now, "x-odps-end-time": now if found.is_done else ""}
    return xml_response(_described(found, request), headers)


def _advance(store: Store, found: Instance, *, is_stopped: bool = False) -> None:
    with found.lock:
        if found.is_done:
            return
        if is_stopped:
            found.is_done, found.error = True, "ODPS-0130252:[1,1] Instance was stopped"
        elif found.polls_left:
            found.polls_left -= 1
        else:
            found.is_done = True
            _run(store, found)


def _run(store: Store, found: Instance) -> None:
    try:
        found.selection = execute(store, found.statement)
    except SqlError as error:
        found.error = str(error)


def _described(found: Instance, request: Request) -> str:
    status = "Failed" if found.error else "Success" if found.is_done else "Running"
    result = ""
    if "result" in request.query:
        text = found.error or (_csv(found.selection) if found.selection else "")
        coded = base64.b64encode(text.encode()).decode()
        result = f'<Result Transform="Base64" Format="{"text" if found.error else "csv"}">{coded}</Result>'
    task = f'<Task Type="SQL"><Name>{escape(found.task)}</Name>{result}<Status>{status}</Status></Task>'
    return f"<Instance><Status>{'Terminated' if found.is_done else 'Running'}</Status><Tasks>{task}</Tasks></Instance>"


def _settings(job: ET.Element) -> dict[str, str]:
    pairs = {one.findtext("Name"): one.findtext("Value") for one in job.iterfind("Tasks/SQL/Config/Property")}
    return dict(json.loads(pairs.get("settings") or "{}"))


def _csv(selection: SelectedRows) -> str:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(selection.schema.names)
    for row in selection.rows[:CSV_ROWS]:
        writer.writerow([_text(kind, value) for kind, value in zip(selection.schema.types, row, strict=True)])
    return out.getvalue()


def _text(kind: str, value: object) -> str:
    match kind, value:
        case _, None:
            return "\\N"
        case "boolean", _:
            return "true" if value else "false"
        case (("datetime" | "timestamp"), _):
            return f"{restored(kind, value):%Y-%m-%d %H:%M:%S}"
    return str(value)
