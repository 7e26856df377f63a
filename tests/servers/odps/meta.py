"""Descriptions of the tenant, the project, its tables and their partitions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate
from xml.sax.saxutils import escape, quoteattr

from tests.servers.odps.schema import Spec, spec_text
from tests.servers.odps.sessions import json_response, request_id
from tests.servers.odps.store import Store, StoredTable
from tests.servers.wire import Request, Response

_ROW_BYTES = 100  # the stated size of a row


def xml_response(body: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a reply in XML."""
    content = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()
    return Response(200, content, {"Content-Type": "application/xml", **(headers or {}), **request_id()})


def tenant() -> Response:
    """``GET /tenants``: no schemas between project and table."""
    parameters = {"odps.namespace.schema": "false"}
    return json_response(
        {"Tenant": {"Name": "tenant", "TenantId": "1", "TenantState": "NORMAL", "Parameters": parameters}}
    )


def project(name: str) -> Response:
    """``GET /projects/P``."""
    body = f"<Project><Name>{escape(name)}</Name><Type>managed</Type><State>AVAILABLE</State></Project>"
    born = formatdate(0, usegmt=True)
    return xml_response(body, {"x-odps-owner": "tester", "x-odps-creation-time": born, "Last-Modified": born})


def tables(store: Store, request: Request) -> Response:
    """``GET /projects/P/tables``."""
    prefix = request.query.get("name", "")
    names = sorted(name for name in store.tables if name.startswith(prefix))
    listed = "".join(f"<Table><Name>{escape(name)}</Name><Type>MANAGED_TABLE</Type></Table>" for name in names)
    return xml_response(f"<Tables><Marker/><MaxItems>1000</MaxItems>{listed}</Tables>")


def table(store: Store, name: str, request: Request) -> Response:
    """``GET /projects/P/tables/T`` with ``?partitions``, ``?partition=…`` or ``?extended``."""
    found = store.table(name)
    if "partitions" in request.query:
        return _partitions(found, request.query.get("partition", ""))
    if "partition" in request.query:
        return _partition(store, found, store.partition(name, request.query["partition"]))
    described = _extended(found) if "extended" in request.query else _described(store, found)
    return xml_response(
        f"<Table><Name>{escape(found.name)}</Name><TableId>{found.name}</TableId><Type>{_type(found)}</Type>"
        f'<Schema format="Json">{escape(json.dumps(described))}</Schema><Owner>tester</Owner>'
        f"<CreationTime>{formatdate(found.created, usegmt=True)}</CreationTime>"
        f"<LastModifiedTime>{formatdate(_changed(found), usegmt=True)}</LastModifiedTime></Table>"
    )


def _type(found: StoredTable) -> str:
    return "VIRTUAL_VIEW" if found.base else "MANAGED_TABLE"


def _described(store: Store, found: StoredTable) -> dict[str, object]:
    count = sum(store.count(found.name, spec) for spec in list(found.partitions))
    times = {"createTime": found.created, "lastModifiedTime": _changed(found), "lastDDLTime": found.created}
    sizes = {"recordNum": count, "size": count * _ROW_BYTES}
    return found.schema.described() | {"tableName": found.name, "owner": "tester", "comment": ""} | times | sizes


def _extended(found: StoredTable) -> dict[str, object]:
    reserved: dict[str, object] = {"Transactional": str(found.schema.is_transactional).lower()}
    if found.schema.primary_key:
        reserved["PrimaryKey"] = list(found.schema.primary_key)
    return found.schema.described() | {"IsArchived": False, "PhysicalSize": 0, "Reserved": json.dumps(reserved)}


def _partitions(found: StoredTable, wanted: str) -> Response:
    prefix = tuple(part.replace("'", "").strip() for part in wanted.split(",") if part)
    specs = [spec for spec in sorted(found.partitions) if tuple(spec_text(spec).split(","))[: len(prefix)] == prefix]
    listed = "".join(f"<Partition>{_columns(spec)}</Partition>" for spec in specs)
    return xml_response(f"<Partitions><Marker/><MaxItems>1000</MaxItems>{listed}</Partitions>")


def _partition(store: Store, found: StoredTable, spec: Spec) -> Response:
    count = store.count(found.name, spec)
    described = {
        "createTime": found.created, "lastDDLTime": found.created, "lastModifiedTime": found.partitions[spec],
        "partitionSize": count * _ROW_BYTES, "partitionRecordNum": count,
        "PhysicalSize": count * _ROW_BYTES, "IsArchived": False, "FileNum": 1, "Reserved": "{}",
    }  # fmt: skip
    return xml_response(f"<Partition>{_columns(spec)}<Schema>{escape(json.dumps(described))}</Schema></Partition>")


def _columns(spec: Spec) -> str:
    return "".join(f"<Column Name={quoteattr(name)} Value={quoteattr(value)}/>" for name, value in spec)


def _changed(found: StoredTable) -> int:
    return max(found.partitions.values(), default=found.created)
