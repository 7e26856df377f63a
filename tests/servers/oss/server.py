"""An OSS server on loopback for oss2: signatures, checksums and multipart uploads."""

from __future__ import annotations

import base64
import hashlib
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from tests.servers.faults import Faults
from tests.servers.oss.listing import list_objects, list_parts, list_uploads
from tests.servers.oss.reading import read
from tests.servers.oss.refusals import Refused, refusal, xml
from tests.servers.oss.shelf import Shelf, Stored
from tests.servers.oss.signing import Key, check_signature
from tests.servers.wire import LoggedRequest, Request, Response, WireServer

REGION = "cn-hangzhou"
KEY_ID, SECRET = "LTAItest0001", "s3cret-of-the-test-key"  # a key with every permission


class OssServer:
    """Serves buckets until closed; bodies are files in ``root``. ``keys`` and ``denied`` may change while it runs."""

    def __init__(
        self,
        root: Path,
        *,
        buckets: Iterable[str] = ("videos",),
        keys: Mapping[str, Key] | None = None,
        region: str = REGION,
        faults: Faults | None = None,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.shelf = Shelf(root)
        self.shelf.buckets |= {bucket: {} for bucket in buckets}
        self.keys = dict(keys or {KEY_ID: Key(SECRET)})
        self.region = region
        self.denied: set[str] = set()  # buckets that every key is denied
        self.archived: set[tuple[str, str]] = set()  # objects (bucket, key) that must be restored before a GET
        self._request_ids = itertools.count(1)
        self._wire = WireServer(self._respond, faults=faults)

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:port``, which oss2 addresses with the bucket in the path."""
        return self._wire.url

    @property
    def faults(self) -> Faults:
        """The rules for injected faults."""
        return self._wire.faults

    @property
    def requests(self) -> list[LoggedRequest]:
        """The log of requests, in order."""
        return self._wire.requests

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object without a request; a missing bucket is created."""
        self.shelf.buckets.setdefault(bucket, {})
        self.shelf.put(bucket, key, body, {})

    def objects(self) -> dict[tuple[str, str], bytes]:
        """Return every object's bytes, by bucket and key."""
        return {
            (bucket, key): stored.path.read_bytes()
            for bucket, objects in self.shelf.buckets.items()
            for key, stored in objects.items()
        }

    def close(self) -> None:
        """Stop serving."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _respond(self, request: Request) -> Response:
        request_id = f"{next(self._request_ids):024X}"
        try:
            check_signature(request, self.keys, self.region)
            response = self._serve(request)
        except Refused as refused:
            response = refusal(refused, request_id=request_id, is_head=request.method == "HEAD")
        headers = {"x-oss-request-id": request_id, **response.headers}
        return Response(response.status, response.body, headers, response.content_length)

    def _serve(self, request: Request) -> Response:
        bucket, _, key = request.path.removeprefix("/").partition("/")
        if bucket in self.denied:
            raise Refused(403, "AccessDenied", "You have no right to access this object.", EC="0003-00000001")
        if not key:
            return self._list(bucket, request)
        if "uploadId" in request.query:
            return self._serve_upload(request)
        match request.method:
            case "GET" if (bucket, key) in self.archived:
                raise Refused(403, "InvalidObjectState", "The operation is not valid for the object's state.")
            case "GET" | "HEAD":
                return read(self.shelf.find(bucket, key), request.headers, is_head=request.method == "HEAD")
            case "PUT":
                _check_digest(request)
                kept, forbids = _kept_headers(request), _forbids_overwrite(request)
                return _facts(self.shelf.put(bucket, key, request.body, kept, forbids_overwrite=forbids))
            case "DELETE":
                self.shelf.delete(bucket, key)
                return Response(204)
            case "POST" if "uploads" in request.query:
                forbids = _forbids_overwrite(request)
                upload_id = self.shelf.start(bucket, key, _kept_headers(request), forbids_overwrite=forbids)
                return Response(
                    200, xml("InitiateMultipartUploadResult", {"Bucket": bucket, "Key": key, "UploadId": upload_id})
                )
        raise Refused(400, "InvalidArgument", f"{request.method} {request.target} is not served here")

    def _serve_upload(self, request: Request) -> Response:
        upload_id = request.query["uploadId"]
        match request.method:
            case "PUT":
                _check_digest(request)
                return _facts(self.shelf.put_part(upload_id, int(request.query["partNumber"]), request.body))
            case "GET":
                return Response(200, list_parts(upload_id, self.shelf.upload(upload_id).parts, request.query))
            case "DELETE":
                self.shelf.abort(upload_id)
                return Response(204)
        forbids = _forbids_overwrite(request)
        stored = self.shelf.complete(upload_id, _named_parts(request.body), forbids_overwrite=forbids)
        body = xml("CompleteMultipartUploadResult", {"ETag": f'"{stored.etag}"'})
        return Response(200, body, _facts(stored).headers)

    def _list(self, bucket: str, request: Request) -> Response:
        objects = self.shelf.objects(bucket)
        if request.method != "GET":
            raise Refused(400, "InvalidArgument", f"{request.method} of a bucket is not served here")
        if "uploads" in request.query:
            return Response(200, list_uploads(bucket, self.shelf.uploads))
        return Response(200, list_objects(bucket, objects, request.query))


def _facts(stored: Stored) -> Response:
    return Response(200, headers={"ETag": f'"{stored.etag}"', "x-oss-hash-crc64ecma": str(stored.crc64)})


def _check_digest(request: Request) -> None:
    digest = base64.b64encode(hashlib.md5(request.body).digest()).decode()
    if request.headers.get("content-md5", digest) != digest:
        raise Refused(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")


def _kept_headers(request: Request) -> dict[str, str]:
    kept = {
        name: value
        for name, value in request.headers.items()
        if name.startswith("x-oss-meta-") or name == "content-encoding"
    }
    return {"Content-Type": request.headers.get("content-type", "application/octet-stream"), **kept}


def _forbids_overwrite(request: Request) -> bool:
    return request.headers.get("x-oss-forbid-overwrite", "").lower() == "true"


def _named_parts(body: bytes) -> list[tuple[int, str]]:
    try:
        return [
            (int(part.findtext("PartNumber", "0")), part.findtext("ETag", "").strip('"'))
            for part in ET.fromstring(body).iter("Part")
        ]
    except ET.ParseError:
        raise Refused(400, "MalformedXML", "The XML you provided was not well-formed.") from None
