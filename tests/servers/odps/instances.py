"""Jobs: an SQL statement is submitted as XML, polled, and its rows fetched as CSV or through the instance tunnel."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.servers.odps.meta import xml_response
from tests.servers.odps.refusals import Refusal, SqlError
from tests.servers.odps.sessions import Sessions
from tests.servers.odps.sql import SelectedRows, Statement, start
from tests.servers.odps.store import Store
from tests.servers.odps.tunnel_download import DownloadSession, open_session, read_session
from tests.servers.odps.values import restored
from tests.servers.wire import Request, Response

CSV_ROWS = 10_000  # the limit of a result without the tunnel


@dataclass(slots=True)
class Instances:
    """The jobs of a project, and what happens to statements that match a regular expression.

    ``held``: they begin when they are submitted and end at ``land``, even if their client stops them or is gone.
    ``refused``: the account has no privilege for them. ``meanwhile``: called after they read, before they write.
    """

    polls: int = 0  # how often a new statement is reported as running before it ends
    held: str | None = None
    refused: str | None = None
    meanwhile: tuple[str, Callable[[], None]] | None = None
    queries: list[str] = field(default_factory=list)
    by_name: dict[str, Instance] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # identifier of the client -> name
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def land(self) -> None:
        """End all held statements."""
        for found in list(self.by_name.values()):
            found.is_held = False
            _advance(found, is_forced=True)


@dataclass(slots=True)
class Instance:
    """A job and its result."""

    job: str  # its XML
    task: str
    finish: Callable[[], SelectedRows | None]
    polls_left: int  # polls that still report it as running
    is_held: bool = False
    is_done: bool = False
    selection: SelectedRows | None = None
    error: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def submit(store: Store, instances: Instances, project: str, request: Request) -> Response:
    """``POST /instances``: begin a statement, and end it at once unless polls must come first.

    A job of a known identifier is not started again.
    """
    job = ET.fromstring(request.body).find("Job")
    query = job.findtext("Tasks/SQL/Query") if job is not None else None
    if job is None or query is None:
        raise Refusal(400, "InvalidArgument", "The test server runs jobs of one SQL task")
    identifier = job.findtext("Guid") or uuid.uuid4().hex
    with instances.lock:
        is_known = identifier in instances.names
        name = instances.names.setdefault(identifier, uuid.uuid4().hex)
        if not is_known:
            instances.queries.append(query)
            instances.by_name[name] = _begin(store, instances, project, job, query)
    if not is_known:
        if instances.meanwhile and re.search(instances.meanwhile[0], query):
            instances.meanwhile[1]()
        if not instances.polls:
            _advance(instances.by_name[name])
    return Response(201, headers={"Location": f"/projects/{project}/instances/{name}"})


def _begin(store: Store, instances: Instances, project: str, job: ET.Element, query: str) -> Instance:
    statement = Statement(project, query, may_scan_all=_settings(job).get("odps.sql.allow.fullscan") == "true")
    task, source = job.findtext("Tasks/SQL/Name") or "task", ET.tostring(job, encoding="unicode")
    finish = _refuse if _matches(instances.refused, query) else start(store, statement)
    return Instance(source, task, finish, instances.polls, is_held=_matches(instances.held, query))


def _matches(pattern: str | None, query: str) -> bool:
    return pattern is not None and re.search(pattern, query) is not None


def _refuse() -> None:
    raise SqlError("ODPS-0130013:Authorization exception - Authorization Failed [4019], You have NO privilege")


def instance(instances: Instances, sessions: Sessions[DownloadSession], name: str, request: Request) -> Response:
    """``GET /instances/I``: status, ``?result``, ``?source``; ``?downloads`` of its rows; ``PUT`` stops it."""
    if (found := instances.by_name.get(name)) is None:
        raise Refusal(404, "NoSuchObject", f"ODPS-0430055: The instance does not exist - {name}")
    if "downloads" in request.query:
        if found.selection is None:
            raise Refusal(400, "InstanceTypeNotSupported", "The instance has no rows to download")
        return open_session(sessions, name, DownloadSession(found.selection.schema, found.selection.rows))
    if "downloadid" in request.query:
        return read_session(sessions, name, request)
    if "source" in request.query:
        return xml_response(found.job)
    _advance(found, is_stopped=request.method == "PUT")
    now = formatdate(usegmt=True)
    headers = {"x-odps-owner": "tester", "x-odps-start-time": now, "x-odps-end-time": now if found.is_done else ""}
    return xml_response(_described(found, request), headers)


def _advance(found: Instance, *, is_stopped: bool = False, is_forced: bool = False) -> None:
    with found.lock:
        if found.is_done or found.is_held:
            return
        if is_stopped:
            found.is_done, found.error = True, "ODPS-0130252:[1,1] Instance was stopped"
        elif found.polls_left and not is_forced:
            found.polls_left -= 1
        else:
            found.is_done = True
            _finish(found)


def _finish(found: Instance) -> None:
    try:
        found.selection = found.finish()
    except (SqlError, Refusal) as error:
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
