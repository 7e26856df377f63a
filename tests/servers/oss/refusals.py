"""Error answers of OSS: a status, a code, and XML that repeats the signed text."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from tests.servers.wire import Response

Tree = Mapping[str, "str | Tree | list[Tree]"]


class Refused(Exception):
    """Raised for a request that OSS answers with an error."""

    def __init__(self, status: int, code: str, message: str, **details: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.details = status, code, message, details


def refusal(refused: Refused, *, request_id: str, is_head: bool) -> Response:
    """Return the error answer; for HEAD, the XML is in a header."""
    if refused.status == 304:
        return Response(304)
    body = xml("Error", {"Code": refused.code, "Message": refused.message, "RequestId": request_id, **refused.details})
    if is_head:
        return Response(refused.status, headers={"x-oss-err": base64.b64encode(body).decode()}, content_length=0)
    return Response(refused.status, body, {"Content-Type": "application/xml"})


def xml(root: str, content: Tree) -> bytes:
    """Return XML of nested names and texts; a list repeats its element."""
    element = ET.Element(root)
    _fill(element, content)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(element)


def _fill(element: ET.Element, content: Tree) -> None:
    for name, value in content.items():
        for one in value if isinstance(value, list) else [value]:
            child = ET.SubElement(element, name)
            if isinstance(one, str):
                child.text = one
            else:
                _fill(child, one)
