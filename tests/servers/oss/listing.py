"""Listings of objects (both versions), of uploads and of parts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from tests.servers.oss.refusals import Tree, xml
from tests.servers.oss.shelf import Stored, Upload


def list_objects(bucket: str, objects: Mapping[str, Stored], query: Mapping[str, str]) -> bytes:
    """Return one page of objects in the order of the keys' UTF-8; ``delimiter`` groups deeper keys by prefix."""
    is_v2 = query.get("list-type") == "2"
    after = query.get("continuation-token") or query.get("start-after") if is_v2 else query.get("marker")
    prefix, delimiter, limit = query.get("prefix", ""), query.get("delimiter", ""), int(query.get("max-keys") or 100)
    folded = {_fold(key, prefix, delimiter) for key in objects if key.startswith(prefix)}
    names = sorted((name for name in folded if name > (after or "")), key=str.encode)
    page, is_truncated = names[:limit], len(names) > limit
    shown = quote if query.get("encoding-type") == "url" else str
    listed: dict[str, str | Tree | list[Tree]] = {"Name": bucket, "IsTruncated": str(is_truncated).lower()}
    if shown is quote:
        listed["EncodingType"] = "url"
    if is_truncated:
        listed["NextContinuationToken" if is_v2 else "NextMarker"] = shown(page[-1])
    listed["Contents"] = [_entry(shown(name), objects[name]) for name in page if name in objects]
    listed["CommonPrefixes"] = [{"Prefix": shown(name)} for name in page if name not in objects]
    return xml("ListBucketResult", listed)


def list_uploads(bucket: str, uploads: Mapping[str, Upload]) -> bytes:
    """Return all uploads of the bucket, on one page."""
    named = [
        {"Key": upload.key, "UploadId": upload_id, "Initiated": "2025-01-15T08:00:00.000Z"}
        for upload_id, upload in sorted(uploads.items(), key=lambda pair: pair[1].key)
        if upload.bucket == bucket
    ]
    return xml(
        "ListMultipartUploadsResult",
        {"Bucket": bucket, "IsTruncated": "false", "NextKeyMarker": "", "NextUploadIdMarker": "", "Upload": [*named]},
    )


def list_parts(upload_id: str, parts: Mapping[int, Stored], query: Mapping[str, str]) -> bytes:
    """Return one page of parts, in the order of their numbers."""
    after, limit = int(query.get("part-number-marker") or 0), int(query.get("max-parts") or 1000)
    numbers = sorted(number for number in parts if number > after)
    page = numbers[:limit]
    return xml(
        "ListPartsResult",
        {
            "UploadId": upload_id,
            "IsTruncated": str(len(numbers) > limit).lower(),
            "NextPartNumberMarker": str(page[-1] if page else 0),
            "Part": [{"PartNumber": str(number), **_facts(parts[number])} for number in page],
        },
    )


def _fold(key: str, prefix: str, delimiter: str) -> str:
    head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
    return prefix + head + found if found else key


def _entry(name: str, stored: Stored) -> Tree:
    return {"Key": name, "Type": stored.kind, "StorageClass": "Standard", **_facts(stored)}


def _facts(stored: Stored) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "Size": str(stored.size_bytes),
        "LastModified": _moment(stored.modified),
        "HashCrc64ecma": str(stored.crc64),
    }


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
