"""Signature versions 1 and 4, verified on the server's side by Alibaba Cloud's documentation.

https://www.alibabacloud.com/help/en/oss/developer-reference/include-signatures-in-the-authorization-header
https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from tests.servers.oss.refusals import Refused
from tests.servers.wire import Request

SKEW = timedelta(minutes=15)
SUBRESOURCES = {"uploads", "uploadId", "partNumber", "objectMeta", "continuation-token", "acl", "bucketInfo"}
_V1 = re.compile(r"OSS ([^:]+):(\S+)")
_V4 = re.compile(r"OSS4-HMAC-SHA256 Credential=([^/]+)/(\S+), Signature=(\w+)(?:, AdditionalHeaders=(\S+))?")


@dataclass(frozen=True, slots=True)
class Key:
    """An access key as the server stores it."""

    secret: str
    token: str | None = None  # of a session


def check_signature(request: Request, keys: Mapping[str, Key], region: str) -> None:
    """Raise ``Refused`` unless the request is signed with one of the keys, within ``SKEW``."""
    authorization = request.headers.get("authorization", "")
    if v4 := _V4.fullmatch(authorization):
        key_id, scope, signature, additional = v4.groups()
        key, moment = _key(request, keys, key_id), request.headers.get("x-oss-date", "")
        _check_date(datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
        canonical = _canonical_v4(request, (additional or "").split(";"))
        wanted_scope = f"{moment[:8]}/{region}/oss/aliyun_v4_request"
        signed = f"OSS4-HMAC-SHA256\n{moment}\n{wanted_scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        wanted = _chain(f"aliyun_v4{key.secret}", [*wanted_scope.split("/"), signed]).hex()
        _compare(signature if scope == wanted_scope else "", wanted, StringToSign=signed, CanonicalRequest=canonical)
    elif v1 := _V1.fullmatch(authorization):
        key_id, signature = v1.groups()
        key, date = _key(request, keys, key_id), request.headers.get("x-oss-date") or request.headers.get("date", "")
        _check_date(parsedate_to_datetime(date))
        signed = _signed_v1(request, date)
        digest = hmac.new(key.secret.encode(), signed.encode(), hashlib.sha1).digest()
        _compare(signature, base64.b64encode(digest).decode(), StringToSign=signed)
    else:
        raise Refused(403, "AccessDenied", "You have no right to access this object because of bucket acl.")


def _key(request: Request, keys: Mapping[str, Key], key_id: str) -> Key:
    key = keys.get(key_id)
    if key is None:
        message = "The OSS Access Key Id you provided does not exist in our records."
        raise Refused(403, "InvalidAccessKeyId", message, OSSAccessKeyId=key_id)
    token = request.headers.get("x-oss-security-token")
    if token != key.token:
        raise Refused(403, "InvalidSecurityToken", "The security token you provided is invalid.", Token=token or "")
    return key


def _check_date(moment: datetime) -> None:
    if abs(datetime.now(UTC) - moment) > SKEW:
        raise Refused(403, "RequestTimeTooSkewed", "The difference between the request time and ours is too large.")


def _compare(given: str, wanted: str, **signed: str) -> None:
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        message = "The request signature we calculated does not match the signature you provided."
        raise Refused(403, "SignatureDoesNotMatch", message, SignatureProvided=given, **signed)


def _signed_v1(request: Request, date: str) -> str:
    headers = sorted((name, value) for name, value in request.headers.items() if name.startswith("x-oss-"))
    query = sorted((name, value) for name, value in request.query.items() if name in SUBRESOURCES)
    resource = request.path + ("?" + "&".join(_pairs(query)) if query else "")
    head = (request.headers.get(name, "") for name in ("content-md5", "content-type"))
    return "\n".join([request.method, *head, date, *(f"{name}:{value}" for name, value in headers), resource])


def _canonical_v4(request: Request, additional: list[str]) -> str:
    query = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in request.query.items())
    names = {"content-type", "content-md5", *additional}
    headers = sorted(
        (name, value) for name, value in request.headers.items() if name.startswith("x-oss-") or name in names
    )
    lines = [request.method, quote(request.path, safe="/~"), "&".join(_pairs(query))]
    lines += [f"{name}:{value}" for name, value in headers]
    return "\n".join([*lines, "", ";".join(sorted(additional)), request.headers.get("x-oss-content-sha256", "")])


def _pairs(query: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name}={value}" if value else name for name, value in query]


def _chain(secret: str, links: list[str]) -> bytes:
    digest = secret.encode()
    for link in links:
        digest = hmac.new(digest, link.encode(), hashlib.sha256).digest()
    return digest
